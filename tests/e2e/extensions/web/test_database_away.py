"""The database goes away and comes back, under a server that runs."""

import httpx
from anyio.pytest_plugin import FreePortFactory

from tests.e2e.extensions.web.serving import registration, serving
from tests.e2e.processes import Application, wait_until
from tests.proxy import postgres_behind_a_proxy


def test_a_server_says_so_and_goes_on_when_it_is_back(
    application: Application, postgres_url: str, free_tcp_port_factory: FreePortFactory
) -> None:
    """Meanwhile it is alive, not ready, and tells when to come again; a key makes that safe."""
    application.postgres_url = postgres_url
    with (
        postgres_behind_a_proxy(postgres_url, port=free_tcp_port_factory()) as (url, proxy),
        serving(application, database_url=url) as server,
        server.client() as client,
    ):

        def register() -> httpx.Response:
            body, key = registration("ivan@example.com"), {"Idempotency-Key": "k1"}
            return client.post("/users", json=body, headers=key)

        assert client.get("/readyz").status_code == 200
        proxy.cut()
        wait_until(lambda: client.get("/readyz").status_code == 503)
        alive, ready, refused = client.get("/healthz"), client.get("/readyz"), register()
        proxy.open()
        wait_until(lambda: client.get("/readyz").status_code == 200)
        registered = register()
        assert server.stop() == 0
        _, log = server.process.communicate()

    assert (alive.status_code, ready.status_code) == (200, 503)
    assert ready.json()["detail"] == "the database cannot be used"
    assert refused.status_code == 503
    kind = refused.json()["type"].removeprefix("urn:problem-type:allocation:")
    assert kind in ("connection-lost", "database-unavailable")  # on the way, or before it
    assert refused.headers["retry-after"]
    assert url not in refused.text + log
    assert refused.headers["x-request-id"] in log
    assert registered.status_code == 201
