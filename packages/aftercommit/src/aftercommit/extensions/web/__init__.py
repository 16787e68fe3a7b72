"""The extension web: an application over HTTP. The routes are its own.

Read `endpoints.py` first, which has what they need. Then read `idempotent_execution.py`, and
`dispatch_after_response.py` for what follows.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from aftercommit.process.parts import Extension, Parts


class WebExtension(Extension):
    """What it brings to the program.

    `routes` names modules of the application, which are imported when somebody serves: each has a
    router `public`, for anybody, and one `guarded`, for who has the operator's token.

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
