"""A small payment service, over HTTP: python -m examples.checkout.payment_service [PORT]

The order's id is the idempotency key. What it does depends on the card:

- "good": it is charged.
- "refused": it is refused.
- "down": the service answers 503.
- "hangs": it charges the card, and never answers.
- "late": it charges the card, and answers a moment later.

GET /payments returns what has happened: for each order, how often money was taken and given back.
"""

import json
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Self

LATE_SECONDS = 4.0  # just before a client of this example stops waiting


class PaymentService:
    """The service, in a thread of this process, while the context lasts.

    A late answer comes after so many seconds, or as soon as `answers_now` is set.
    """

    def __init__(self, port: int = 0, late_seconds: float = LATE_SECONDS) -> None:
        self.charged, self.refunded = Counter[str](), Counter[str]()
        self.answers_now, self._late_seconds = Event(), late_seconds
        self._forbidden, self._lock, self._ends = set[str](), Lock(), Event()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                order, _, undone = self.path.removeprefix("/payments/").partition("/")
                status = service.undo(order) if undone else service.charge(order, content["card"])
                if status:
                    self._answer(status, {})

            def do_GET(self) -> None:
                payments = {"charged": service.charged, "refunded": service.refunded}
                self._answer(200, payments)

            def _answer(self, status: int, content: object) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Print nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """Print nothing: clients may be killed."""

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = int(self._server.server_port)
        self._thread = Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.set()
        self.answers_now.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def charge(self, order: str, card: str) -> int | None:
        """Take the money, once; return the status of the answer, or None for no answer."""
        if card == "down":
            return 503
        with self._lock:
            if card == "refused" or order in self._forbidden:
                return 402
            self.charged[order] = 1
        if card == "hangs":
            self._ends.wait()
            return None
        if card == "late":
            self.answers_now.wait(self._late_seconds)
        return 200

    def undo(self, order: str) -> int:
        """Give the money back, once, and take none from now on."""
        with self._lock:
            self._forbidden.add(order)
            self.refunded[order] = self.charged[order]
        return 200


if __name__ == "__main__":
    with PaymentService(int(sys.argv[1]) if len(sys.argv) > 1 else 8099) as running:
        sys.stdout.write(f"payments on 127.0.0.1:{running.port}\n")
        sys.stdout.flush()
        Event().wait()
