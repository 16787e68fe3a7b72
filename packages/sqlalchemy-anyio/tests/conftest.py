"""Leaves out what cannot run with other tests: `make compliance` runs it."""

collect_ignore = ["compliance"]
