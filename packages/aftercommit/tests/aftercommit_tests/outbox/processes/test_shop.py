"""The web application of examples/shop: changed in a few lines."""

import difflib
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa

from aftercommit_tests.processes import (
    LIMIT_SECONDS,
    a_free_port,
    asked,
    finished,
    started,
    wait_until,
)
from aftercommit_tests.warm import SOURCES, WarmProcess

pytestmark = [pytest.mark.on("sqlite"), pytest.mark.check]

SHOP = Path(__file__).parents[4] / "examples" / "shop"
MOST_CHANGED_LINES = 14
ARTICLE = "INSERT INTO articles (name, in_stock) VALUES ('lamp', 10)"


class Shop:
    """The application in a folder of its own, on a database."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.port, self._url = folder, a_free_port(), url
        driver = "sqlite+aiosqlite" if url.startswith("sqlite") else "postgresql+asyncpg"
        database = url.replace(url.partition("://")[0], driver, 1)
        self.environment = {"PYTHONPATH": SOURCES, "SHOP_DATABASE": database, "PATH": "/usr/bin"}
        shutil.copytree(SHOP / "after", folder, dirs_exist_ok=True)
        self.migrate("upgrade", "head")
        self.ask(ARTICLE)

    def migrate(self, *command: str) -> None:
        """Run a command of Alembic that has to succeed."""
        alembic = started("alembic", *command, folder=self.folder, environment=self.environment)
        ran = finished(alembic)
        assert ran.returncode == 0, ran.stdout + ran.stderr

    @contextmanager
    def running(self, *command: str) -> Iterator[None]:
        """Serve beside the test."""
        command = command or ("uvicorn", "main:app", "--log-level=warning", f"--port={self.port}")
        command = (sys.executable, "-m", *command)
        process = WarmProcess(command, cwd=self.folder, env=self.environment)
        try:
            wait_until(lambda: asked(self.port, "/docs")[0] > 0 or process.poll() is not None)
            yield
        finally:
            process.terminate()
            process.wait(LIMIT_SECONDS)

    def order(self, email: str) -> None:
        """Place an order; the answer may never come."""
        new = {"article": "lamp", "email": email}
        with suppress(httpx.TransportError):
            httpx.post(f"http://127.0.0.1:{self.port}/orders", json=new, timeout=LIMIT_SECONDS)

    def ask(self, statement: str) -> Any:
        """Ask the database from outside."""
        engine = sa.create_engine(self._url.replace("postgresql:", "postgresql+psycopg:"))
        with engine.begin() as connection:
            result = connection.execute(sa.text(statement))
            rows = [tuple(row) for row in result] if result.returns_rows else []
        engine.dispose()
        return rows

    def confirmed(self) -> list[str]:
        """Return whom a confirmation was sent, sorted: a repetition has the key of the first."""
        return sorted(email for _, email, *_ in {*self._confirmations()})

    def confirmation_keys(self) -> list[str]:
        """Return the keys by which the receiver of confirmations recognizes repetitions."""
        return [key for _, _, key in self._confirmations()]

    def _confirmations(self) -> list[tuple[str, ...]]:
        """Return order, address and key of each confirmation that was sent."""
        file = self.folder / "confirmations.txt"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(*line.split(),) for line in lines]

    def has_delivered(self) -> bool:
        """Tell whether nothing is left to do."""
        left = "SELECT count(*) FROM aftercommit_deliveries WHERE completed_at IS NULL"
        return bool(self.ask(left) == [(0,)])


@pytest.fixture
def shop(empty_url: str, tmp_path: Path) -> Shop:
    """The application as it is after the change, with ten lamps."""
    return Shop(tmp_path / "shop", empty_url)


@pytest.mark.on("postgres")
def test_what_follows_an_order_is_done(shop: Shop) -> None:
    """Of each of them, once in the database. Its confirmation has a key that is its own."""
    with shop.running():
        for number in range(3):
            shop.order(f"{number}@example.com")
        wait_until(lambda: len(shop.confirmed()) == 3 and shop.has_delivered())

    events = shop.ask("SELECT id FROM aftercommit_events")
    assert shop.confirmed() == ["0@example.com", "1@example.com", "2@example.com"]
    assert {UUID(key.removesuffix(":confirm")) for key in shop.confirmation_keys()} == {
        UUID(str(event)) for (event,) in events
    }
    assert shop.ask("SELECT in_stock FROM articles") == [(7,)]


def test_autogenerate_leaves_our_tables_alone(shop: Shop) -> None:
    """As the line in its `env.py` says."""
    with shop.running():
        pass

    shop.migrate("check")


OURS = """
import sqlalchemy as sa
from aftercommit.alembic import upgrade_tables
from alembic import op

revision = "{}"
down_revision = "{}"


def upgrade() -> None:
    upgrade_tables(op.get_bind())
    op.add_column("orders", sa.Column("note_{}", sa.String()))
"""


def test_a_migration_that_makes_our_tables_goes_on_after_it(shop: Shop) -> None:
    """Also the next one in the same run, and again when all is there."""
    versions = shop.folder / "migrations" / "versions"
    (versions / "0002.py").write_text(OURS.format("0002", "0001", "a"))
    (versions / "0003.py").write_text(OURS.format("0003", "0002", "b"))

    shop.migrate("upgrade", "0001:head", "--sql")
    shop.migrate("upgrade", "head")

    assert shop.ask("SELECT version_num FROM alembic_version") == [("0003",)]
    assert shop.ask("SELECT note_a, note_b FROM orders") == []
    assert shop.has_delivered()


def test_the_change_is_small() -> None:
    """A few lines, and one new file."""
    before, after = files(SHOP / "before"), files(SHOP / "after")
    added = [
        line
        for name, lines in before.items()
        for line in difflib.ndiff(lines, after[name])
        if line.startswith("+ ")
    ]

    assert after.keys() - before.keys() == {"events.py"}
    assert len(added) <= MOST_CHANGED_LINES


def files(folder: Path) -> dict[str, list[str]]:
    """Return the lines of all files below a folder, by name."""
    found = [each for each in folder.rglob("*.*") if "__pycache__" not in each.parts]
    return {str(each.relative_to(folder)): each.read_text().splitlines() for each in found}
