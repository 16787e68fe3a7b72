"""The API of the application, in a real process, as in the tests of the extension web."""

from tests.e2e.extensions.web.conftest import backend

__all__ = ["backend"]
