-- The statements of the outbox that are executed most often. Two belong to a busy worker: it claims deliveries,
-- and marks them as done. Each is a transaction by itself, so it takes one round trip to the server, while the
-- portable form (deliveries/store.py, deliveries/ends.py) takes four and five. The third one belongs to every
-- commit that stores events.
--
-- `:now`, the limits and the parts of `due_of_one` are inserted as text; everything else is a parameter.
-- `:now` is the clock of all statements. The limit is text because PostgreSQL keeps no plan for an unknown
-- limit: it expects a tenth of the table, so that a plan for the few rows at hand always looks cheaper.
-- `:due_of_each` is `due_of_one` for each handler, by its number, and each version of events: PostgreSQL
-- reads all of them at the same time, each in the order of its part of the index, and stops at the limit.
-- So due deliveries of other handlers, paused ones, and those of later versions cost a claim nothing.

-- name: due_of_one
(
    SELECT delivery.event_id, delivery.handler, delivery.available_at
    FROM aftercommit_deliveries AS delivery JOIN aftercommit_events AS event ON event.id = delivery.event_id
    WHERE delivery.parked_at IS NULL AND delivery.completed_at IS NULL AND NOT delivery.blocked  -- the index
        AND delivery.handler = (  -- nothing equals what a paused one is
            SELECT name FROM (VALUES ((CAST(:handlers AS text[]))[:number])) AS handler (name)
            WHERE NOT EXISTS (SELECT FROM aftercommit_handler_pauses AS pause WHERE pause.handler = name)
        )
        AND delivery.schema_version = :this_version
        AND delivery.replay = :replay
        AND delivery.available_at <= :now
        -- what happens instead of other handlers, only newer processes know
        AND (delivery.given_up IS NULL OR delivery.handler = ANY (CAST(:instead AS text[])))
        -- other types, and later versions, are for newer processes
        AND event.schema_version <= (CAST(:versions AS int[]))[
            array_position(CAST(:types AS text[]), CAST(event.type AS text))
        ]
    ORDER BY delivery.available_at
    LIMIT :limit + 100  -- so many may be locked by others; without a limit, all that is due might be sorted
)

-- name: claim
WITH found AS MATERIALIZED (
    SELECT event_id, handler FROM (:due_of_each) AS found ORDER BY available_at LIMIT :limit + 100
),
due AS MATERIALIZED (  -- as a subquery, the limit might be applied again for each row
    SELECT locked.* FROM found CROSS JOIN LATERAL (
        SELECT
            delivery.event_id,
            delivery.handler,
            delivery.attempts,
            -- Deliveries that can never be handled are parked here: they would be the longest due in each
            -- later claim. Python has no year 10000; reading one would fail for the whole batch.
            CASE
                WHEN is_last.unfinished AND NOT may.give_up THEN :unfinished_last
                WHEN length(event.data) > :max_length THEN :too_long
                WHEN event.time < '0001-01-01 UTC' OR event.time >= '10000-01-01 UTC' THEN :no_time
            END AS problem,
            -- From here on, claims are for what happens instead of the handler.
            CASE
                WHEN may.give_up AND is_last.unfinished
                    THEN concat(CAST(:unfinished AS text), '::', delivery.attempts)
                WHEN may.give_up AND delivery.give_up_at <= :now
                    THEN concat(CAST(:too_late AS text), '::', delivery.attempts)
            END AS given_up
        FROM aftercommit_deliveries AS delivery JOIN aftercommit_events AS event ON event.id = delivery.event_id
        CROSS JOIN LATERAL (
            SELECT delivery.given_up IS NULL AND delivery.handler = ANY (CAST(:instead AS text[])) AS give_up
        ) AS may
        CROSS JOIN LATERAL (
            SELECT delivery.owner IS NOT NULL AND delivery.attempts >= :max_attempts AS unfinished
        ) AS is_last
        WHERE delivery.event_id = found.event_id AND delivery.handler = found.handler
            -- it may have changed since it was found
            AND delivery.parked_at IS NULL AND delivery.completed_at IS NULL AND NOT delivery.blocked
            AND delivery.available_at <= :now
            AND (delivery.given_up IS NULL OR delivery.handler = ANY (CAST(:instead AS text[])))
        FOR UPDATE OF delivery SKIP LOCKED  -- workers that claim at the same time share the work
    ) AS locked
    LIMIT :limit
),
claimed AS (
    UPDATE aftercommit_deliveries AS delivery
    SET token = delivery.token + 1,  -- from here on, an earlier owner can write nothing
        attempts = CASE
            WHEN due.problem IS NOT NULL THEN delivery.attempts
            WHEN due.given_up IS NOT NULL THEN 1
            ELSE delivery.attempts + 1
        END,
        unavailable_attempts = CASE
            WHEN due.problem IS NULL AND due.given_up IS NOT NULL THEN 0 ELSE delivery.unavailable_attempts
        END,
        given_up = CASE WHEN due.problem IS NULL THEN coalesce(due.given_up, delivery.given_up) ELSE delivery.given_up END,
        available_at = :now + :lease,
        owner = CASE WHEN due.problem IS NULL THEN :process END,
        previous_owner = delivery.owner,
        limit_name = NULL,  -- its handler has none now; another statement claims within limits
        parked_at = CASE WHEN due.problem IS NOT NULL THEN :now END,
        last_error = coalesce(
            CASE WHEN delivery.given_up IS NOT NULL THEN due.problem || :before_that || delivery.last_error END,
            due.problem,
            delivery.last_error
        )
    FROM due
    WHERE delivery.event_id = due.event_id AND delivery.handler = due.handler
    RETURNING
        delivery.event_id, delivery.handler, delivery.attempts, delivery.unavailable_attempts,
        delivery.token, delivery.previous_owner, delivery.lane, due.attempts AS attempts_before, due.problem,
        delivery.given_up, delivery.last_error
),
lost AS (  -- a previous owner has neither finished nor failed: its lease has ended
    INSERT INTO aftercommit_failures (event_id, handler, token, attempt, failed_at, owner, error, outcome)
    SELECT event_id, handler, token - 1, attempts_before, :now, previous_owner, :lease_expired, 'lease_expired'
    FROM claimed WHERE previous_owner IS NOT NULL
),
forgotten AS (  -- the last ten of an outcome are kept; this does not see the one that is inserted beside it
    DELETE FROM aftercommit_failures AS failures USING claimed
    WHERE claimed.previous_owner IS NOT NULL
        AND failures.event_id = claimed.event_id AND failures.handler = claimed.handler
        AND failures.outcome = 'lease_expired'
        AND :max_failures - 1 <= (
            SELECT count(*) FROM aftercommit_failures AS newer
            WHERE newer.event_id = claimed.event_id AND newer.handler = claimed.handler
                AND newer.outcome = failures.outcome AND newer.token > failures.token
        )
)
SELECT claimed.*, event.*, claimed.handler AS subscriber  -- both have a handler: event's causes it
FROM claimed LEFT JOIN aftercommit_events AS event ON event.id = claimed.event_id AND claimed.problem IS NULL

-- name: complete
WITH these AS MATERIALIZED (  -- locked in the order of their keys, as by all who lock several of them
    SELECT delivery.event_id, delivery.handler
    FROM aftercommit_deliveries AS delivery
    JOIN unnest(CAST(:event_ids AS uuid[]), CAST(:handlers AS text[]), CAST(:tokens AS int[]))
        AS claim (event_id, handler, token)
        ON delivery.event_id = claim.event_id AND delivery.handler = claim.handler AND delivery.token = claim.token
    WHERE delivery.parked_at IS NULL
    ORDER BY delivery.event_id, delivery.handler
    FOR UPDATE OF delivery SKIP LOCKED  -- what somebody has locked holds up no other claim
)
UPDATE aftercommit_deliveries AS delivery  -- what is done already with this token was done by this claim
SET completed_at = coalesce(delivery.completed_at, :now),
    duration_seconds = coalesce(  -- the lease has begun so long ago
        delivery.duration_seconds, :now - delivery.available_at + :lease
    ),
    available_at = NULL,
    last_error = CASE WHEN delivery.given_up IS NOT NULL THEN delivery.last_error END
FROM these
WHERE delivery.event_id = these.event_id AND delivery.handler = these.handler
RETURNING delivery.event_id, delivery.handler, delivery.token

-- name: write
-- Everything that a unit of work has caused, besides the application's rows: the general form takes four
-- statements (deliveries/new_events.py, deliveries/inbox.py, deliveries/states.py). Rows are JSON in the form of those:
-- for arrays of other types than text, asyncpg queries each connection once. References to an event are
-- checked at the end of the statement.
WITH completed AS (
    UPDATE aftercommit_deliveries
    SET completed_at = :now,
        duration_seconds = coalesce(duration_seconds, :now - available_at + :lease),
        available_at = NULL,
        last_error = CASE WHEN given_up IS NOT NULL THEN last_error END
    WHERE event_id = :this_event_id AND handler = :this_handler AND token = :this_token
        AND parked_at IS NULL AND completed_at IS NULL
    RETURNING event_id
),
events AS (
    INSERT INTO aftercommit_events (
        id, source, type, schema_version, subject, time, data,
        correlation_id, causation_id, handler, depth, traceparent, recorded_at
    )
    SELECT
        id, source, type, schema_version, subject, time, data,
        correlation_id, causation_id, handler, depth, traceparent, :now
    FROM json_to_recordset(CAST(CAST(:events AS text) AS json)) AS new (
        id uuid, source text, type text, schema_version int, subject text, time timestamptz, data text,
        correlation_id uuid, causation_id uuid, handler text, depth int, traceparent text
    )
),
deliveries AS (
    INSERT INTO aftercommit_deliveries (
        event_id, handler, schema_version, attempts, token, owner, give_up_at, available_at
    )
    SELECT event_id, handler, schema_version, attempts, 1, owner, :now + given_up_after, :now + seconds + CASE
        WHEN EXISTS (  -- who resumes the handler waits for this commit, and finds the delivery
            SELECT FROM aftercommit_handler_pauses AS pause WHERE pause.handler = subscriber FOR KEY SHARE
        ) THEN 1e12 ELSE 0
    END
    FROM json_to_recordset(CAST(CAST(:deliveries AS text) AS json)) AS new (
        event_id uuid, handler text, schema_version int, attempts int, owner text, seconds float8, subscriber text,
        given_up_after float8
    )
),
commands AS (
    INSERT INTO aftercommit_commands (
        id, type, source, message_id, fingerprint, correlation_id, causation_id, accepted_at
    )
    SELECT id, type, source, message_id, fingerprint, correlation_id, causation_id, :now
    FROM json_to_recordset(CAST(CAST(:commands AS text) AS json)) AS new (
        id uuid, type text, source text, message_id text, fingerprint text, correlation_id uuid, causation_id uuid
    )
)
SELECT count(*) FROM completed
