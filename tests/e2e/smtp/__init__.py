"""E-mail by a mail server, of real processes."""
