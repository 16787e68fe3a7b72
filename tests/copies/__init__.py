"""Whole projects: copies of this one, with something put in or taken out. Run by `make copies`."""
