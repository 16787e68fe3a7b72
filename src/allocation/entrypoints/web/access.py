"""Who may do what: one token, the operator's, for all that shows or changes others' data."""

import hmac
from hmac import compare_digest
from typing import Annotated

from fastapi import Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from allocation.entrypoints.web.exceptions import NotAuthenticated

BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="operator",
    description="`ALLOCATION_OPERATOR_TOKEN`, or what the server printed at its start.",
)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]
CHANGES_NOTHING = ("GET", "HEAD")  # room: page


async def operator(request: Request, credentials: Credentials) -> None:
    """Let only the operator pass: a dependency of routes.

    :raises NotAuthenticated: if the token is not there, or another; how much of it is right, and
        whence the request comes, makes no difference
    """
    if not credentials and _is_of_our_page(request) and _has_cookie(request):  # room: page
        return  # room: page
    check_token(request, credentials.credentials if credentials else "")


def check_token(request: Request, sent: str) -> None:
    """Compare a token that was sent with the operator's, in constant time.

    :raises NotAuthenticated: if it is another
    """
    if not compare_digest(sent.encode(), _wanted(request).encode()):
        raise NotAuthenticated


def _wanted(request: Request) -> str:
    token: str = request.app.state.operator_token
    return token


# room: page
def remember(request: Request, response: Response) -> None:
    """Give the browser a cookie, which counts as the token, but does not tell it.

    It has it until it is closed. No script can read it, and pages of other sites cannot send it.
    Behind a proxy that ends TLS, and says so, it never goes over anything else.
    """
    response.set_cookie(
        _cookie_name(request),
        _cookie_value(_wanted(request)),
        httponly=True,
        samesite="strict",
        secure=request.headers.get("x-forwarded-proto", request.url.scheme) == "https",
    )


def _is_of_our_page(request: Request) -> bool:
    """Tell whether a page of this server asks; other ports of this host are the same *site*.

    Whoever wants to change something has to say so: browsers do, in `Origin`.
    """
    headers = request.headers
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    host = headers.get("origin", "").partition("://")[2]
    return request.method in CHANGES_NOTHING or host == headers.get("host")


def _has_cookie(request: Request) -> bool:
    sent = request.cookies.get(_cookie_name(request), "")
    return compare_digest(sent.encode(), _cookie_value(_wanted(request)).encode())


def _cookie_name(request: Request) -> str:
    """Name the port in it: browsers do not tell the cookies of a host's ports apart."""
    return f"allocation-{request.url.port or ''}"


def _cookie_value(token: str) -> str:
    """Return what only who knows the token can make, and what tells nobody the token."""
    return hmac.digest(token.encode(), b"the cookie of a browser", "sha256").hex()


# end
