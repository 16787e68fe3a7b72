"""Who may do what: one token, the operator's, for all that shows or changes others' data."""

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
    """Let only the operator pass: a dependency of routes.

    :raises NotAuthenticated: if the token is not there, or another; how much of it is right, and
        whence the request comes, makes no difference
    """
    if not credentials and request.app.state.sessions.let_in(request):
        return
    if not is_token(request, credentials.credentials if credentials else ""):
        raise NotAuthenticated


def is_token(request: Request, sent: str) -> bool:
    """Compare a token that was sent with the operator's, in constant time."""
    return compare_digest(sent.encode(), request.app.state.operator_token.encode())


def caller(request: Request) -> str:
    """Return who asks, without a secret: the operator, another token, or an address.

    Another token is hashed with the operator's as the key, so nobody can guess it from the hash.

    :raises CallerUnknown: if there is neither a token nor an address: nobody waits for the answer,
        and under another name than an address the caller's repetition would not be recognized
    """
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
