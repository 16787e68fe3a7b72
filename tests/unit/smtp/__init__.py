"""URLs of mail servers."""
