"""A server in a separate process, to be measured from another process.

    python -m benchmarks.http_server URL SERVER DISPATCH PORT

SERVER is "ours" or "by_hand", which is FastAPI and uvicorn with the same HTTP parser, one endpoint,
and the application's statements in plain SQL on SQLAlchemy. Both print nothing.
"""

import logging
import sys
from typing import Annotated, Any
from uuid import UUID

import anyio
import uvicorn
from aftercommit import CommandLine
from aftercommit.extensions.web.application import web_application
from aftercommit.extensions.web.server import open_listener, web_service
from aftercommit.extensions.web.settings import WebSettings
from fastapi import BackgroundTasks, FastAPI, Response
from pydantic import BaseModel, Field

from allocation.entrypoints.app import APP
from benchmarks.measured_application import WITHOUT_MAIL, settings_for
from benchmarks.registration_by_hand import by_sqlalchemy

MANY = 1000  # so that nothing is left to workers, which the other way does not have


class NewUser(BaseModel):
    """The user to register."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    email: Annotated[str, Field(pattern="^[^@]+@[^@]+$", max_length=254)]


class User(NewUser):
    """The registered user."""

    user_id: UUID


def ours(url: str, dispatch: Any, of_web: WebSettings) -> None:
    """Serve the application until asked to stop."""
    settings = settings_for(url, dispatch=dispatch, max_dispatches=MANY, of_extensions=(of_web,))
    app = web_application(APP, of_web)
    service = web_service(settings, app)
    CommandLine(WITHOUT_MAIL, {}).run_services(settings, service, delivers=dispatch == "inline")


async def by_hand(url: str, dispatch: str, of_web: WebSettings) -> None:
    """Serve what somebody would write by hand; "inline" runs the handlers after the response."""
    app = FastAPI()

    @app.post("/users", status_code=201)
    async def register_user(new: NewUser, response: Response, later: BackgroundTasks) -> User:
        registered = await registration.store(new.name, new.email)
        if dispatch == "inline":
            later.add_task(registration.follow, registered)
        response.headers["Location"] = f"/users/{registered.user}"
        return User(user_id=UUID(str(registered.user)), name=new.name, email=new.email)

    config = uvicorn.Config(app, http="h11", access_log=False, log_level="warning")
    async with by_sqlalchemy(url) as registration:
        with open_listener(of_web) as listener:
            await uvicorn.Server(config).serve([listener])


def main(url: str, server: str, dispatch: str, port: str) -> None:
    """Be a server."""
    logging.disable(logging.WARNING)
    of_web = WebSettings(http_port=int(port))
    if server == "ours":
        ours(url, dispatch, of_web)
    else:
        anyio.run(by_hand, url, dispatch, of_web)


if __name__ == "__main__":
    main(*sys.argv[1:])
