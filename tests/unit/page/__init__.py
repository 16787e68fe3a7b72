"""Tests of the room page that need no database."""
