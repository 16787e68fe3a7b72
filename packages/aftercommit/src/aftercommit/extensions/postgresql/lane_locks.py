"""Locks on lanes: advisory ones of the server, which end with their transaction.

Each lane has its own lock, and a shared one for its part; there are 1,024 parts. A transaction with
many lanes takes exclusive locks on their parts instead: all sessions of the server together can
hold some thousand locks (`max_locks_per_transaction` for each of the `max_connections`), and one
more is an error. So a transaction has at most two thousand.

The locks' names contain the table, so applications in other schemas have other locks. All are taken
in one order, parts before lanes, so that no two transactions wait for each other.
"""

from sqlalchemy import text

MANY = 256  # lanes; for more, it locks their parts
PARTS = 1024  # the last ten bits of a key are its part
_TABLE = "CAST(CAST(to_regclass('aftercommit_deliveries') AS oid) AS bigint)"
_LANE, _PART = f"key # ({_TABLE} << 32)", f"({_TABLE} << 10) | part"

_WAIT = f"""
WITH wanted AS MATERIALIZED (
    SELECT key, key & {PARTS - 1} AS part,
        cardinality(CAST(:keys AS bigint[])) > {MANY} AS are_many
    FROM unnest(CAST(:keys AS bigint[])) AS key ORDER BY key
),
parts AS MATERIALIZED (SELECT DISTINCT part, are_many FROM wanted ORDER BY part)
SELECT CAST(NULL AS bigint) AS key, CASE
    WHEN are_many THEN pg_advisory_xact_lock({_PART}) IS NOT NULL
    ELSE pg_advisory_xact_lock_shared({_PART}) IS NOT NULL
END AS is_locked FROM parts
UNION ALL
SELECT key, pg_advisory_xact_lock({_LANE}) IS NOT NULL FROM wanted WHERE NOT are_many
"""
LOCK = text(_WAIT)
TRY = text(
    f"""{_WAIT}
UNION ALL
SELECT key, pg_try_advisory_xact_lock_shared({_PART}) AND pg_try_advisory_xact_lock({_LANE})
FROM (SELECT key, key & {PARTS - 1} AS part FROM unnest(CAST(:tried AS bigint[])) AS key) AS tried
"""
)
