"""A real browser, as in the engine's tests."""

from aftercommit_tests.extensions.page.processes.browser import chromium, page_of

__all__ = ["chromium", "page_of"]
