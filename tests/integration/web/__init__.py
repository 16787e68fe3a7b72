"""Tests of the room web, in one process, on each database."""
