"""What the routes of an application need of this extension; everything else in it may change."""

from typing import Annotated

from fastapi import Depends, Request

from aftercommit.extensions.web.exceptions import BodyTooLarge, UnsupportedMediaType
from aftercommit.extensions.web.idempotency import IdempotentExecution
from aftercommit.extensions.web.problems import errors
from aftercommit.process.application import Application

__all__ = ["OF_BODIES", "Execution", "Running", "errors"]

OF_BODIES = errors(BodyTooLarge, UnsupportedMediaType)
"""What an endpoint that takes a body may answer, besides its own errors."""

Execution = Annotated[IdempotentExecution, Depends()]
"""Executes the command of a request, once for each `Idempotency-Key`."""


def running(request: Request) -> Application:
    """Return what is open: its database, for queries."""
    application: Application = request.app.state.application
    return application


Running = Annotated[Application, Depends(running)]
