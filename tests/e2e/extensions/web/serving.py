"""Runs the real HTTP server, as in the engine's tests."""

from aftercommit_tests.extensions.web.processes.serving import serving

__all__ = ["serving"]
