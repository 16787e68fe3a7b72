"""The command line that every application has; `command_group.py` puts it together."""
