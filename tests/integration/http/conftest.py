"""The API of the application, on each database; it runs as in the tests of the extension web."""

from tests.integration.extensions.web.conftest import anyio_backend, web

__all__ = ["anyio_backend", "web"]
