"""Tests of the room page with a real browser."""
