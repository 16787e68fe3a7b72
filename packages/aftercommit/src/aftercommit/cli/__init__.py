"""The commands and options that every application has; `command_group.py` puts them together."""
