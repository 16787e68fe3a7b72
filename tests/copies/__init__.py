"""Copies of the project, of which something was taken out, or to which something was added."""
