"""The sessions of browsers: a cookie that counts as the token without revealing it."""

import secrets
from hmac import compare_digest
from time import time

from fastapi import Request, Response

from aftercommit.extensions.web.authentication import is_token, signature
from aftercommit.extensions.web.exceptions import NotAuthenticated

SESSION_SECONDS = 12 * 3600


class Sessions:
    """Creates, checks and ends sessions. They are signed with the token, and need no memory."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._codes: set[str] = set()  # that nobody has used yet
        self._ended: set[str] = set()  # cookies, and with them all copies of them

    def new_code(self) -> str:
        """Return a code that logs in one browser, once: for a link to the page.

        A browser stores the addresses that it has opened, including the part after the "#"; by
        then, the code has been used.
        """
        code = secrets.token_urlsafe(24)
        self._codes.add(code)
        return code

    def create(self, request: Request, response: Response, sent: str) -> None:
        """Give the browser a cookie, for the token or a code.

        Each cookie is a new one, and ends after SESSION_SECONDS, or by `end`. No script can read
        it, and pages of other sites cannot send it; but the browser sends it to other ports of the
        same host. Behind a proxy that ends TLS, and says so, it is sent over TLS only.

        :raises NotAuthenticated: if neither is right
        """
        if sent not in self._codes and not is_token(request, sent):
            raise NotAuthenticated
        self._codes.discard(sent)
        session = f"{int(time()) + SESSION_SECONDS}.{secrets.token_hex(16)}"
        scheme = request.headers.get("x-forwarded-proto", request.url.scheme).partition(",")[0]
        response.set_cookie(
            _cookie_name(request),
            f"{session}.{self._signature(session)}",
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=scheme.strip().lower() == "https",
        )

    def end(self, request: Request, response: Response) -> None:
        """Remove the cookie, and no longer accept it in this process.

        To know ended sessions, other processes would have to query the database at each request; so
        they accept a copy of the cookie until it expires. A new token ends all sessions.
        """
        self._ended = {each for each in self._ended if self._is_valid(each)}
        self._ended.add(request.cookies.get(_cookie_name(request), ""))
        response.delete_cookie(_cookie_name(request), httponly=True, samesite="strict")

    def let_in(self, request: Request) -> bool:
        """Tell whether a request has a session, and comes from a page of this server."""
        cookie = request.cookies.get(_cookie_name(request), "")
        is_current = cookie not in self._ended and self._is_valid(cookie)
        return is_current and is_from_own_page(request)

    def _is_valid(self, cookie: str) -> bool:
        session, _, sent = cookie.rpartition(".")
        is_ours = compare_digest(sent.encode(), self._signature(session).encode())
        return is_ours and int(session.partition(".")[0]) > time()

    def _signature(self, session: str) -> str:
        return signature(self._token, f"session {session}")


def is_from_own_page(request: Request) -> bool:
    """Tell whether a page of this server has sent a request, as far as the browser says.

    Other ports of this host are the same *site*, so a request that changes something has to name
    its origin: browsers do that in `Origin`.
    """
    headers = request.headers
    is_safe = request.method in ("GET", "HEAD")
    origin = headers.get("origin", "").partition("://")[2]
    is_near = headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
    return is_near and (is_safe or origin == headers.get("host"))


def _cookie_name(request: Request) -> str:
    """Put the port into the name: browsers do not separate the cookies of a host's ports."""
    return f"{request.app.state.name}-{request.url.port or ''}"
