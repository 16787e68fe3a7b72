"""Who asks in tests over HTTP: as in the engine's."""

from aftercommit_tests.extensions.web.running import OPERATOR, TOKEN, stored

__all__ = ["OPERATOR", "TOKEN", "stored"]
