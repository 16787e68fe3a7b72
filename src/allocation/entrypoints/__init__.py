"""The entrypoints: they turn outside words into commands, and errors into exit codes. No rules."""
