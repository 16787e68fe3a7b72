"""The sessions of browsers: a cookie that counts as the token, and does not reveal it."""

import secrets
from hmac import compare_digest
from time import time

from fastapi import Request, Response

from aftercommit.extensions.web.authentication import is_token, signature
from aftercommit.extensions.web.exceptions import NotAuthenticated

SESSION_SECONDS = 12 * 3600


class Sessions:
    """Creates, checks and ends sessions. What is signed with the token needs no memory."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._codes: set[str] = set()  # that nobody has used
        self._ended: set[str] = set()  # cookies, and so all copies of them

    def new_code(self) -> str:
        """Return a code that lets one browser in, once: for a link to the page.

        A browser stores the addresses that it has opened, with what is behind the "#"; when it has,
        the code is no longer of use.
        """
        code = secrets.token_urlsafe(24)
        self._codes.add(code)
        return code

    def create(self, request: Request, response: Response, sent: str) -> None:
        """Give the browser a cookie, for the token or a code.

        It is another one each time, and ends after SESSION_SECONDS, or by `end`. No script can read
        it, and pages of other sites cannot send it; but the browser sends it to other ports of the
        same host. Behind a proxy that ends TLS, and says so, it never goes over anything else.

        :raises NotAuthenticated: if neither is sent
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
        """Take the cookie away, and let this process no longer accept it.

        Other processes would have to ask the database at each request whether a session has ended;
        they accept a copy of the cookie until it expires. Another token ends all sessions.
        """
        self._ended = {each for each in self._ended if self._is_valid(each)}
        self._ended.add(request.cookies.get(_cookie_name(request), ""))
        response.delete_cookie(_cookie_name(request), httponly=True, samesite="strict")

    def let_in(self, request: Request) -> bool:
        """Tell whether a request has a session, and comes from a page of this server.

        Other ports of this host are the same *site*, so a request that changes something has to say
        where it comes from: browsers do, in `Origin`.
        """
        headers, cookie = request.headers, request.cookies.get(_cookie_name(request), "")
        origin = headers.get("origin", "").partition("://")[2]
        return (
            headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
            and (request.method == "GET" or origin == headers.get("host"))
            and cookie not in self._ended
            and self._is_valid(cookie)
        )

    def _is_valid(self, cookie: str) -> bool:
        session, _, sent = cookie.rpartition(".")
        is_ours = compare_digest(sent.encode(), self._signature(session).encode())
        return is_ours and int(session.partition(".")[0]) > time()

    def _signature(self, session: str) -> str:
        return signature(self._token, f"session {session}")


def _cookie_name(request: Request) -> str:
    """Name the port in it: browsers do not tell the cookies of a host's ports apart."""
    return f"{request.app.state.name}-{request.url.port or ''}"
