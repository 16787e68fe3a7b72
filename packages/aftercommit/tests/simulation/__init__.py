"""A deterministic simulation of the engine: a seed decides time, order and faults.

The real bus, outbox, unit of work, worker and sessions run in several simulated processes, on a
real database, in virtual time. `docs/contributing/testing.md` explains it; `make simulate SEED=17`
runs one.

| module | what it is |
|---|---|
| `world.py` | virtual time, and processes: each is an event loop without a selector |
| `story.py` | what has happened, as a table for people and as a hash |
| `plan.py` | what a seed draws: processes, orders, faults, decisions of operators |
| `faults.py` | what breaks, and when |
| `driver.py` | a call of SQLite's driver as three moments: asked, effect, answer |
| `postgresql.py` | a real server, whose time is the world's; what is left out |
| `wire.py` | what asyncpg sends arrives after a moment, or never |
| `sessions.py`, `protocol.py` | sessions of the server, one message at a time |
| `server_limits.py` | `lock_timeout` and others, in the time of the world |
| `shop.py` | the application: a handler of each kind |
| `ledger.py` | what is promised, checked after each COMMIT, at each attempt and at the end |
| `claims.py`, `decided.py`, `limits.py` | parts of it: claims, decisions, limits |
| `stored.py`, `rows.py` | others: what is stored, and a row of the table |
| `statement_names.py` | what statements are called, by faults and in stories |
| `simulation.py` | one world with all of these |
| `operators.py` | what operators decide meanwhile |
| `seeds.py` | runs a world, or many, each of which a seed draws |
| `schedules.py`, `server_schedules.py` | worlds that are written down, step by step |
| `shrinking.py` | makes a plan that fails smaller |
| `mutations.py`, `mutants.py` | ways to break the engine, and how it is seen that they are found |
"""
