"""Who may do what: the operator's token, for everything that shows or changes others' data."""

import hmac
from hmac import compare_digest
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from aftercommit.extensions.web.exceptions import CallerUnknown, NotAuthenticated

BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="operator",
    description="`{prefix}_OPERATOR_TOKEN`, or what the server printed at its start.",
)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]


async def operator(request: Request, credentials: Credentials) -> None:
    """Accept only the operator: a dependency of routes.

    :raises NotAuthenticated: if the token is missing or wrong; the response does not depend on how
        much of it is right, or on where the request comes from
    """
    if not credentials and request.app.state.sessions.let_in(request):
        return
    if not is_token(request, credentials.credentials if credentials else ""):
        raise NotAuthenticated


def is_token(request: Request, sent: str) -> bool:
    """Compare a received token with the operator's, in constant time."""
    return compare_digest(sent.encode(), request.app.state.operator_token.encode())


def caller(request: Request) -> str:
    """Return who sends the request, without a secret: a name, operator, hashed token, or address.

    A name is what the guard of an application has returned, in which the page is mounted.

    A token is hashed with the operator's as the key, so that nobody can guess it from the hash.

    :raises CallerUnknown: if there is neither a token nor an address: nobody waits for the response
        then, and a name that is not the address would not recognize the caller's repetition
    """
    if named := getattr(request.state, "operator", None):
        return str(named)
    scheme, _, sent = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not sent.strip():
        if request.client is None:
            raise CallerUnknown
        return request.client.host
    if is_token(request, sent.strip()):
        return "operator"
    return f"token-{signature(request.app.state.operator_token, f'caller {sent.strip()}')[:32]}"


def signature(token: str, text: str) -> str:
    """Sign a text with the operator's token."""
    return hmac.digest(token.encode(), text.encode(), "sha256").hex()
