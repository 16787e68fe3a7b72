"""PostgreSQL behind a proxy, so that a test can take it away in any way a network can."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import make_url

from tests.proxy import Proxy, Target, proxy_to


@contextmanager
def postgres_behind_a_proxy(url: str, *, port: int) -> Iterator[tuple[str, Proxy]]:
    """Open a proxy to this database, for the time of the context, and return its URL, too."""
    parsed = make_url(url)
    socket_folder = parsed.query.get("host")
    server_port = parsed.port or 5432
    target: Target = (parsed.host or "127.0.0.1", server_port)
    if isinstance(socket_folder, str) and socket_folder.startswith("/"):
        target = str(Path(socket_folder) / f".s.PGSQL.{server_port}")
    proxied = parsed.set(host="127.0.0.1", port=port).difference_update_query(["host"])
    with proxy_to(target, port=port) as proxy:
        yield proxied.render_as_string(hide_password=False), proxy
