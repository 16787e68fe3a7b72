"""Who may do what: one token, the operator's, for all that shows or changes others' data."""

from hmac import compare_digest
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from allocation.entrypoints.web.exceptions import NotAuthenticated

BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="operator",
    description="`ALLOCATION_OPERATOR_TOKEN`, or what the server printed at its start.",
)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]


async def operator(request: Request, credentials: Credentials) -> None:
    """Let only the operator pass: a dependency of routes.

    :raises NotAuthenticated: if the token is not there, or another; how much of it is right, and
        whence the request comes, makes no difference
    """
    wanted: str = request.app.state.operator_token
    sent = credentials.credentials if credentials else ""
    if not compare_digest(sent.encode(), wanted.encode()):
        raise NotAuthenticated
