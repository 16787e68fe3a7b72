"""Tests of the room web with the real server."""
