"""The extension page: what happens, live, in a browser; and what needs a person, done there.

Read `change_feed.py` first: one reader for all viewers, each of which is a cursor.
What runs in the browser is in `assets`: begin with `page.js`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aftercommit.process.parts import Extension, Parts

if TYPE_CHECKING:
    from fastapi import APIRouter


class PageExtension(Extension):
    """What it brings to the program.

    >>> from aftercommit.extensions.page import PageExtension
    >>> [routes] = PageExtension().parts().public_routes
    >>> router = routes()  # which `serve` includes
    """

    def parts(self) -> Parts:
        return Parts(name="page", public_routes=[_routes])


def _routes() -> APIRouter:
    from aftercommit.extensions.page.routes import router

    return router
