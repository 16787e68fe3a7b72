"""A checkout: a process over several aggregates, with a deadline and compensations.

Read `domain.py` first, then the table at the end of `handlers.py`. README.md says how to run it.
"""
