"""The erasure of a user, for good: from the tables, from events, and from e-mails that are kept."""
