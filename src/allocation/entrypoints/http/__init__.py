"""The application over HTTP: requests become commands, and rows become responses. No rules."""
