"""A browser, for tests of the application: those of the page are in its package."""
