"""Processes that export their traces."""
