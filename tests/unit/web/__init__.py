"""Tests of the room web that need no database."""
