"""E-mail by a mail server, one session for each."""
