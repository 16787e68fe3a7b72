"""The tests of the examples, with the fixtures of the outbox, as their users run them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aftercommit_tests.warm import SOURCES

pytestmark = pytest.mark.check

EXAMPLES = Path(__file__).parents[4] / "examples"
DRIVERS = {
    "shop": {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"},
    "flask_shop": {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"},
}


@pytest.mark.parametrize("example", DRIVERS)
def test_the_tests_of_an_example_pass(example: str, empty_url: str, tmp_path: Path) -> None:
    """Each of them twice: what one has committed, the next does not see."""
    for part in ("after", "tests"):
        shutil.copytree(EXAMPLES / example / part, tmp_path / "shop", dirs_exist_ok=True)
    kind, _, place = empty_url.partition("://")
    own = {"SHOP_DATABASE": f"{DRIVERS[example][kind]}://{place}", "PYTHONPATH": f"{SOURCES}:."}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]

    ran = subprocess.run(
        command, cwd=tmp_path / "shop", env=os.environ | own, capture_output=True, text=True
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "3 passed" in ran.stdout


def test_the_fixtures_load_no_database() -> None:
    """They are a plugin of each run of pytest, also of one that needs none of them."""
    heavy = "{'sqlalchemy', 'alembic', 'anyio', 'greenlet'}"
    code = f"import sys, aftercommit.outbox.fixtures; print(*({heavy} & {{*sys.modules}}))"
    python = [sys.executable, "-c", code]

    loaded = subprocess.run(python, env=os.environ | {"PYTHONPATH": SOURCES}, capture_output=True)

    assert (loaded.returncode, loaded.stdout.strip()) == (0, b"")
