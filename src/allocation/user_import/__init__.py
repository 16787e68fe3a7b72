"""The import of users from a CSV file. What else names it: two rows of handlers, one of events."""
