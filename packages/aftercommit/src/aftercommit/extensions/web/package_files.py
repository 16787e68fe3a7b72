"""Sends the files of a package, such as scripts, by a route."""

import mimetypes

from fastapi import APIRouter, Request, Response
from starlette.staticfiles import StaticFiles


def add_files(router: APIRouter, prefix: str, package: str, folder: str) -> None:
    """Add a route for the files in a folder of a package; an older FastAPI includes no mounts."""
    if not mimetypes.inited:  # an application may have types of its own
        mimetypes.init()  # now, because it reads files, for which no request should wait
    files = StaticFiles(packages=[(package, folder)])

    @router.get(prefix + "/{path:path}", include_in_schema=False)
    async def send(path: str, request: Request) -> Response:
        return await files.get_response(path, request.scope)
