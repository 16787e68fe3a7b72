"""Where the routes of the application are."""

from importlib import import_module
from typing import Any


class HasRoutes:
    """An extension that was given the name of their module."""

    routes: str

    def import_routes(self) -> Any:
        """Return the module, with its routers `public` and `guarded`."""
        return import_module(self.routes)
