"""What the columns of the tables hold, who writes them, and what a delivery in each state is."""

_ENGINE = "the transaction of a command or handler"

WRITERS = {
    "aftercommit_application": "`db upgrade`, and the first start on an empty database",
    "aftercommit_commands": f"{_ENGINE}: the row by which a repetition is recognized (inbox)",
    "aftercommit_deliveries": f"{_ENGINE}, with the event; then claims, attempts, and people",
    "aftercommit_events": f"{_ENGINE}, from what its aggregates have recorded; never changed,"
    " but by `erase-user`",
    "aftercommit_decisions": "whatever carries out a person's decision, in the same transaction",
    "aftercommit_failures": "the process whose claim has ended without success; for an expired"
    " lease, the next claim; if a person takes the delivery away, that decision. The last ten of"
    " each outcome are kept",
    "aftercommit_handler_pauses": "`deliveries pause`, the page, and `PUT /handlers/HANDLER/pause`",
    "coupon_batches": "the aggregate `CouponBatch`",
    "coupons": "the aggregate `Coupon`",
    "registration_log": "`log_registration`",
    "user_view": "`refresh_user_view`, and `rebuild-users`: the read model of `users`",
    "users": "the aggregate `User`",
}
"""Who writes each table."""

COLUMNS = {
    "accepted_at": "when it was committed, in seconds since 1970, by the database's clock",
    "attempt": "which attempt it was",
    "attempts": "attempts so far that count; 0 again after a retry by a person",
    "available_at": "running: when the lease ends. Otherwise: when it may be claimed. While its"
    " handler is paused, 10¹² more. When it is finished, empty",
    "blocked": "an earlier one of its lane is not done, so no claim sees it",
    "batch_reference": "the batch it was taken from",
    "aftercommit_commands.causation_id": "the event whose handler has returned it",
    "causation_id": "the command or event from which it follows",
    "code": "what the user shows; it is money, so it is in no log",
    "completed_at": "when it was done or discarded",
    "correlation_id": "the same for all that one command has caused",
    "coupon_code": "as in `coupons`",
    "coupon_state": "as in `coupons`",
    "data": "the fields of the event, as JSON",
    "decided_at": "when",
    "decided_by": "who: user and host on the command line, `operator@ADDRESS` over HTTP, or what"
    " `--by` says",
    "decision": "`retry`, `discard`, `replay`, `pause`, `resume`, `erase` or `prune`",
    "depth": "1 if a command from outside has recorded it; one more than the event before it"
    " otherwise",
    "discarded_at": "when a person discarded it",
    "duration_seconds": "how long its last attempt took",
    "email": "the address, as it was written",
    "email_key": "how the address compares (case-folded)",
    "email_undeliverable": "whether the mail server has said that there is no such address",
    "error": "the error of this attempt, or what is known otherwise",
    "event_id": "the event",
    "exhaustion_notified_on": "the day of the last `CouponBatchExhausted`",
    "failed_at": "when",
    "fingerprint": "of the content: another command under the same id is refused",
    "aftercommit_application.name": "whose schema it is",
    "aftercommit_failures.token": "of the claim that has ended",
    "aftercommit_decisions.event_id": "the event, if it is about one or its delivery",
    "aftercommit_decisions.handler": "the handler, if it is about one or its delivery",
    "aftercommit_handler_pauses.handler": "the paused handler",
    "handler": "the handler, by the name that it had when this was stored",
    "aftercommit_events.handler": "the handler that has recorded it; empty for that of a command",
    "id": "its id",
    "lane": "`HANDLER:KEY`, if the handler is ordered: see `Ordered`",
    "last_error": "the error of the last failed attempt; empty when it is done",
    "logged_at": "when",
    "message_id": "the id that the caller gave: `Idempotency-Key`, or the id of a broker's message",
    "name": "its name",
    "outcome": "`failed`, `released` (without an effect), `interrupted` (perhaps after its effect),"
    " `lease_expired`, or `superseded` (a person took the delivery away)",
    "owner": "the process (NAME@HOST:PID) that has claimed it, or has done it",
    "parked_at": "since when it is parked",
    "paused_at": "since when",
    "paused_by": "by whom",
    "aftercommit_deliveries.position": "where it stands in its lane: as its event",
    "aftercommit_events.position": "grows from event to event, as they are stored",
    "previous_owner": "the process whose lease had expired at the last claim",
    "quantity": "how many coupons it had",
    "reason": "why, if it was said",
    "recorded_at": "when it was stored, by the database's clock",
    "redemption_id": "makes redeeming repeatable",
    "reference": "its name",
    "remaining": "how many are left",
    "replay": "created by a replay: claimed only when nothing else is due",
    "schema_version": "the version of its shape; older ones are upcast when they are read",
    "source": "which program has sent or recorded it",
    "state": "`allocated`, `redeemed` or `expired`",
    "subject": "what it is about, such as the id of a user",
    "time": "when it happened, by the clock of the process: shown, never compared",
    "token": "the fencing token: grows with every claim, release and retry",
    "traceparent": "the span in which it was recorded",
    "type": "its name on the wire",
    "unavailable_attempts": "attempts that found a resource unavailable, and do not count",
    "user_id": "the user",
    "version": "rises with every change: of two that have read the same, one commits",
}
"""What a column holds, by its name; by table and name where that differs."""

EACH_STATE = {
    "discarded": ("`discarded_at` is set", "ended by a person, not done"),
    "done": ("`completed_at` is set, `owner` has done it", "completed"),
    "parked": ("`parked_at` is set", "waits for a person, who retries or discards it"),
    "running": ("`owner` is set, `available_at` is ahead", "claimed, the lease holds"),
    "paused": ("its handler is in `aftercommit_handler_pauses`", "its handler is paused"),
    "blocked": ("`blocked` is true", "an earlier one of its lane is not done (ordered handlers)"),
    "lease_expired": (
        "`owner` is set, `available_at` is past",
        "claimed, the lease is over, no process has taken it over yet",
    ),
    "retrying": (
        "`available_at` is ahead; `attempts` or `unavailable_attempts` > 0",
        "an attempt has failed, the next one has a time",
    ),
    "scheduled": (
        "`available_at` is ahead, no attempt yet",
        "delayed (`Later`): its first due time has not come",
    ),
    "due": ("none of these", "may be claimed now"),
}
"""What the row of a delivery looks like in each state, and what it means."""
