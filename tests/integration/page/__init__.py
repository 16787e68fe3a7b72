"""Tests of the room page, in one process, on each database."""
