"""Message bus, unit of work, and durable delivery of events after the commit.

The engine knows no application: what one consists of is passed in. Begin with `bus.py` and
`unit_of_work.py`; `sql` keeps all of it in a database, `process` runs it, and `extensions` are
optional, each with an extra of its name.
"""
