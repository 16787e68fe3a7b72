"""A database that answers, but takes no write: nobody should be sent to this process."""

from tests.e2e.extensions.web.serving import registration, serving
from tests.e2e.extensions.web.test_stopping import locked
from tests.e2e.processes import Application, wait_until


def test_who_cannot_write_is_not_ready(on_each: Application) -> None:
    """A read does not see it: those who wanted to write do. A write that succeeds ends it."""
    with serving(on_each, handler_timeout_seconds="0.5") as server, server.client() as client:

        def register(number: int = 0) -> int:
            return client.post("/users", json=registration(f"i{number}@example.com")).status_code

        def is_ready() -> bool:
            return client.get("/readyz").status_code == 200

        assert register() == 201
        with locked(on_each) as unlock:
            assert is_ready()
            wait_until(lambda: register(1) == 503 and not is_ready())
            reason = client.get("/readyz").json()["detail"]
            assert client.get("/healthz").status_code == 200
            unlock()
            wait_until(lambda: register(2) == 201)
            assert is_ready()
        assert server.stop() == 0

    assert reason.startswith("no write has succeeded for ")
