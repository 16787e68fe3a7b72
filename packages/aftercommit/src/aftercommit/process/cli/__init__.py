"""The command line that every application has; `main.py` puts it together."""
