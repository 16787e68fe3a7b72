"""Prints what happens, a line each: the observer of the command line and of services.

What has no message of its own here is printed in the words of its name, so nothing has to be added.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

from aftercommit import Observer, Outcome
from aftercommit.terminal.escaping import escape_controls

PUBLISH_TO = "publish_event_to_"

MESSAGES: dict[str, tuple[str, ...]] = {
    "RegisterUser": (
        "[User Service]   registered {0.name} <{0.email}> as {UserRegistered.user_id}",
        "[User Service]   {0.email} was registered before; nothing to do",
    ),
    "ImportUsers": (),  # the command says itself how many there are
    "ChangeEmail": (
        "[User Service]   e-mail address of {0.user_id} changed to {EmailChanged.new_email}",
        "[User Service]   {0.user_id} has the address {0.new_email} already; nothing to do",
    ),
    "RecordBounce": (
        "[User Service]   there is no address {EmailBounced.email}, so nothing is sent to it",
        "[User Service]   there is no address {0.email}; nothing to do",
    ),
    "AddCouponBatch": ("[Coupon Service] batch {0.reference} holds {0.quantity} coupons",),
    "RedeemCoupon": (
        "[Coupon Service] coupon {CouponRedeemed.batch_reference}-… redeemed",
        "[Coupon Service] redemption {0.redemption_id} was done before; nothing to do",
    ),
    "log_registration": ("[Log Service]    user registered: {0.email}",),
    "allocate_welcome_coupon": (
        "[Coupon Service] coupon {CouponAllocated.batch_reference}-… allocated to {0.email}",
        "[Coupon Service] no coupon left for {0.email}",
    ),
    "expire_coupon": ("[Coupon Service] coupon {CouponExpired.batch_reference}-… has expired",),
    "give_coupon_back": ("[Coupon Service] a coupon is back in {0.batch_reference}",),
    "refresh_user_view": (),  # nobody would read it
    "send_welcome_email": ("[Email Service]  welcome e-mail{sent} to {0.email}{kept}",),
    "send_coupon_email": ("[Email Service]  e-mail with coupon {0.batch_reference}-…{sent}{kept}",),
    "send_coupon_reminder": (),  # it may have sent none
    "send_change_notice": ("[Email Service]  notice of change{sent} to {0.old_email}{kept}",),
    "notify_marketing": (
        "[Email Service]  notice of being out of coupons{sent} to marketing{kept}",
    ),
}
"""What is printed of a command, or of a handler as it is called now.

It is the first text that the message, {0}, and the events it caused can fill.

A coupon has no code here, which is money: the output goes to journals, too.
"""


class ConsoleReporter(Observer):
    """Prints what was done, in the order in which it was done.

    E-mails were sent, or kept in `mail_folder` if there is one.
    """

    def __init__(self, print_line: Callable[[str], None], mail_folder: Path | None = None) -> None:
        self._print = print_line
        kept = f" kept in {mail_folder}" if mail_folder else ""
        self._emails = {"sent": "" if kept else " sent", "kept": kept}

    def finished(self, outcome: Outcome) -> None:
        """Print a line for a command or a handler that has succeeded.

        A handler that has returned a command has none: what there is to say, the command says.
        """
        has_a_line = outcome.status == "succeeded" and not outcome.committed.answer
        if has_a_line and (line := self._line(outcome)):
            self._print(escape_controls(line))

    def _line(self, outcome: Outcome) -> str:
        done, message = outcome.handler or outcome.work.name, outcome.work.message
        if done not in MESSAGES:
            return _generic_line(done, message, is_news=outcome.handler or outcome.committed.events)
        caused = {type(each.event).__name__: each.event for each in outcome.committed.events}
        for text in MESSAGES[done]:
            with suppress(KeyError):
                return text.format(message, **caused, **self._emails)
        return ""


def _generic_line(done: str, message: Any, *, is_news: object) -> str:
    """Return a line with the first field of the message, if any: that is what it is about.

    If a command has no events, it says so: after a repetition, one sees that it was done before.
    """
    if done.startswith(PUBLISH_TO):
        return f"[Publisher]      {type(message).__name__} published to {done[len(PUBLISH_TO) :]}"
    words = re.sub("_|(?<!^)(?=[A-Z])", " ", done).lower()
    news = "" if is_news else "; no event followed"
    return f"[Allocation]     {words} {[*astuple(message), ''][0]}{news}"
