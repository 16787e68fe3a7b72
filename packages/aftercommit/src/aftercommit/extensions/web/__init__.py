"""The extension web: an application over HTTP. The routes are its own.

Read `endpoints.py` first, which has what they need. Then read `idempotency.py`, and
`dispatch_after_response.py` for what follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aftercommit.extensions.web.routes_module import HasRoutes
from aftercommit.process.extension import Extension

if TYPE_CHECKING:
    import click


class WebExtension(HasRoutes, Extension):
    """What it brings to the program.

    `routes` names a module of the application, which is imported when somebody serves: it has a
    router `public`, for anybody, and one `guarded`, for who has the operator's token.

    >>> from aftercommit import Extensions
    >>> from aftercommit.extensions.web import WebExtension
    >>> extensions = Extensions([WebExtension("shop.entrypoints.http")])
    >>> extensions[0].command("serve").name
    'serve'
    """

    def __init__(self, routes: str) -> None:
        self.routes = routes

    name = "web"
    commands = {"Run": {"serve": "Serve the HTTP API, with its documentation at /docs."}}

    def command(self, name: str) -> click.Command:
        from aftercommit.extensions.web.cli import serve

        return serve

    def settings(self) -> type:
        from aftercommit.extensions.web.settings import WebSettings

        return WebSettings
