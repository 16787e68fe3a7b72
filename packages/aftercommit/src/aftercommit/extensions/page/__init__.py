"""The extension page: what happens, live, in a browser; and what needs a person, done there.

Read `change_feed.py` first: one reader for all viewers, each of which is a cursor.
What runs in the browser is in `assets`: begin with `page.js`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aftercommit.process.extension import Extension

if TYPE_CHECKING:
    from fastapi import APIRouter


class PageExtension(Extension):
    """What it brings to the program.

    >>> from aftercommit import Extensions
    >>> from aftercommit.extensions.page import PageExtension
    >>> extensions = Extensions([PageExtension()])
    >>> router = extensions[0].public_routes()  # which `serve` includes
    """

    name = "page"

    def public_routes(self) -> APIRouter:
        from aftercommit.extensions.page.routes import router

        return router
