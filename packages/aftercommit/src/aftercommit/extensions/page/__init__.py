"""The extension "page": shows what happens, live, in a browser, and lets operators decide.

Read `change_feed.py` first: one reader serves all viewers, each of which is a cursor. The code for
the browser is in `assets`: begin with `page.js`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aftercommit.process.parts import Extension, Parts

if TYPE_CHECKING:
    from fastapi import APIRouter


class PageExtension(Extension):
    """Adds the page to the HTTP server.

    >>> from aftercommit.extensions.page import PageExtension
    >>> [routes] = PageExtension().parts().public_routes
    >>> router = routes()  # which `serve` includes
    """

    def parts(self) -> Parts:
        return Parts(name="page", public_routes=[_routes])


def _routes() -> APIRouter:
    from aftercommit.extensions.page.routes import router

    return router
