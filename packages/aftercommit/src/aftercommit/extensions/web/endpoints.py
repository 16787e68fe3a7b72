"""What an application's routes need of this extension; everything else in it may change.

Dependencies are asynchronous although they await nothing: FastAPI would run others in a thread.
"""

from typing import Annotated

from fastapi import Depends, Request

from aftercommit.extensions.idempotency_key_parameter import IdempotencyKey
from aftercommit.extensions.web.exceptions import BodyTooLarge, UnsupportedMediaType
from aftercommit.extensions.web.idempotent_execution import IdempotentExecution
from aftercommit.extensions.web.problems import errors
from aftercommit.process.application import Application

__all__ = ["OF_BODIES", "Execution", "Running", "errors"]

OF_BODIES = errors(BodyTooLarge, UnsupportedMediaType)
"""The responses of an endpoint that takes a body, besides its own errors."""


async def execution(request: Request, _key: IdempotencyKey = None) -> IdempotentExecution:
    """Return the object that executes a request's command; the key is documented here."""
    return IdempotentExecution(request)


Execution = Annotated[IdempotentExecution, Depends(execution)]
"""Executes the command of a request, once for each `Idempotency-Key`."""


async def running(request: Request) -> Application:
    """Return the open application, whose database is there for queries."""
    application: Application = request.app.state.application
    return application


Running = Annotated[Application, Depends(running)]
