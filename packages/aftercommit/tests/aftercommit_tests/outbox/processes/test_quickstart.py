"""The quickstart of docs/outbox.md, as a reader runs it: one file, on PostgreSQL."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import make_url

from aftercommit_tests.processes import finished, started
from aftercommit_tests.warm import SOURCES

pytestmark = pytest.mark.check

EXAMPLE = Path(__file__).parents[4] / "examples" / "quickstart.py"
URL = "postgresql+asyncpg://postgres@127.0.0.1/shop"


def test_the_quickstart_does_what_the_page_says(tmp_path: Path, empty_postgres_url: str) -> None:
    """An order is confirmed and reserved; both commands show it."""
    source, url = EXAMPLE.read_text(), make_url(empty_postgres_url)
    url = url.set(drivername="postgresql+asyncpg")
    assert URL in source
    in_this_database = source.replace(URL, url.render_as_string(hide_password=False))
    (tmp_path / "quickstart.py").write_text(in_this_database)

    environment = os.environ | {"PYTHONPATH": SOURCES}

    def run(*arguments: str) -> str:
        done = finished(started(*arguments, folder=tmp_path, environment=environment))
        assert done.returncode == 0, done.stderr
        return done.stdout

    file = [sys.executable, "quickstart.py"]
    placed = subprocess.check_output(file, cwd=tmp_path, env=environment, text=True, timeout=600)
    assert placed.startswith("order 1 is confirmed, key ")
    assert "handlers     2 of events" in run("aftercommit", "check", "quickstart:outbox")
    trace = run("aftercommit", "trace", "1", "quickstart:outbox")
    assert {"reserve", "confirm"} <= {*trace.split()}
