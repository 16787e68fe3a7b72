"""The database goes away, or takes no writes, under a server that runs; then all is well again."""

from itertools import count

import pytest

from aftercommit_tests.extensions.web.processes.serving import locked, serving
from aftercommit_tests.processes import Installation, a_free_port, owed, wait_until
from aftercommit_tests.proxy import postgres_behind_a_proxy

pytestmark = [pytest.mark.on("postgres"), pytest.mark.check]


def test_a_server_says_so_and_goes_on_when_it_is_back(
    installation: Installation, postgres_url: str
) -> None:
    """Meanwhile it is alive, not ready, and tells when to come again; a key makes that safe."""
    installation.postgres_url = postgres_url
    with (
        postgres_behind_a_proxy(postgres_url, port=a_free_port()) as (url, proxy),
        serving(installation, database_url=url) as server,
        server.client() as client,
    ):
        assert client.get("/readyz").status_code == 200
        proxy.cut()
        wait_until(lambda: client.get("/readyz").status_code == 503)
        alive, ready = client.get("/healthz"), client.get("/readyz")
        refused = server.make_thing(key="k1")
        proxy.open()
        wait_until(lambda: client.get("/readyz").status_code == 200)
        wait_until(lambda: server.make_thing(key="k1").status_code == 201)
        log = server.log()

    assert (alive.status_code, ready.status_code) == (200, 503)
    assert ready.json()["detail"] == "the database cannot be used"
    assert refused.status_code == 503
    kind = refused.json()["type"].removeprefix("urn:problem-type:things:")
    assert kind in ("connection-lost", "database-unavailable")  # on the way, or before it
    assert refused.headers["retry-after"]
    assert url not in refused.text + log
    assert refused.headers["x-request-id"] in log


def test_a_process_that_cannot_write_is_not_ready(on_each: Installation) -> None:
    """A read does not see it: requests that wanted to write do. A write that succeeds ends it."""
    names = (f"thing {number}" for number in count())
    with serving(on_each, handler_timeout_seconds="0.5") as server, server.client() as client:

        def make() -> int:
            return server.make_thing(next(names)).status_code

        def is_ready() -> bool:
            return client.get("/readyz").status_code == 200

        wait_until(lambda: make() == 201)  # a busy machine may be too slow for the first
        wait_until(lambda: not owed(on_each))  # or what follows would try to write, too
        wait_until(is_ready)
        with locked(on_each) as unlock:
            assert is_ready()
            wait_until(lambda: make() == 503 and not is_ready())
            reason = client.get("/readyz").json()["detail"]
            assert client.get("/healthz").status_code == 200
            unlock()
            wait_until(lambda: make() == 201)
            wait_until(is_ready)
        assert server.stop() == 0

    assert reason.startswith("no write has succeeded for ")
