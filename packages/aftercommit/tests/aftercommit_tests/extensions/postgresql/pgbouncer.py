"""Debian's PgBouncer between a test and its server."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import pytest
from sqlalchemy import URL, make_url

from aftercommit_tests.processes import LIMIT_SECONDS, wait_until

ALIAS = "pooled"
"""What PgBouncer calls the database, besides its own name."""
CONFIGURATION = """
[databases]
{alias} = {server} dbname={database}
* = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
ignore_startup_parameters = extra_float_digits
max_prepared_statements = {prepared}
pool_mode = {mode}
default_pool_size = {size}
query_wait_timeout = 0
"""


@contextmanager
def pgbouncer(
    url: str, *, port: int, mode: Literal["session", "transaction"], size: int, prepared: int = 200
) -> Iterator[str]:
    """Run PgBouncer before a server, and return the URL that leads through it."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("there is no pgbouncer: install Debian's package of that name")
        pytest.skip("there is no pgbouncer")
    target = make_url(url)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        file = folder / "pgbouncer.ini"
        values: dict[str, object] = {"port": port, "mode": mode, "size": size, "prepared": prepared}
        values |= {"alias": ALIAS, "database": target.database}
        file.write_text(CONFIGURATION.format(server=_server(target), **values))
        user = _user(target) if os.geteuid() == 0 else None  # it refuses to run as root
        with subprocess.Popen([program, "-q", str(file)], user=user) as process:
            try:
                wait_until(lambda: _accepts(port))
                through = target.set(host="127.0.0.1", port=port, query={})
                yield through.render_as_string(hide_password=False)
            finally:
                process.kill()
                process.wait(LIMIT_SECONDS)


def _user(url: URL) -> int | str:
    """Return who may connect: the server's own user, if it can be reached in a folder alone."""
    folder = Path(str(url.query.get("host", "")))
    return folder.stat().st_uid if folder.is_absolute() else "nobody"


def _server(url: URL) -> str:
    """Return where the server is, as PgBouncer is told it."""
    host = url.host or url.query.get("host")
    return f"host={host} port={url.port or 5432} user={url.username}"


def _accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
