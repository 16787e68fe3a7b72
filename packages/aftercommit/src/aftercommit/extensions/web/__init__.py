"""The extension "web": an application over HTTP. The application defines its routes.

Read `endpoints.py` first, which contains what routes need. Then read `idempotent_execution.py`, and
`dispatch_after_response.py` for what happens after the response.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from aftercommit.process.parts import Extension, Parts


class WebExtension(Extension):
    """Serves the application over HTTP.

    `routes` names modules of the application, imported when the server starts: each has a router
    `public`, for everybody, and a router `guarded`, for requests with the operator's token.

    >>> from aftercommit.extensions.web import WebExtension
    >>> [*WebExtension("shop.entrypoints.http").parts().commands["Run"]]
    ['aftercommit.extensions.web.cli:serve']
    """

    def __init__(self, *routes: str) -> None:
        self.routes = routes

    def import_routes(self) -> list[Any]:
        """Return the modules, each with its routers `public` and `guarded`."""
        return [import_module(name) for name in self.routes]

    def parts(self) -> Parts:
        return Parts(
            name="web",
            commands={
                "Run": {
                    "aftercommit.extensions.web.cli:serve": (
                        "Serve the HTTP API, with its documentation at /docs."
                    )
                }
            },
            settings="aftercommit.extensions.web.settings:WebSettings",
        )
