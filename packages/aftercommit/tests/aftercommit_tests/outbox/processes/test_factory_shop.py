"""An application that a function makes, with Flask-SQLAlchemy: its requests, worker and tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from aftercommit_tests.warm import SOURCES

pytestmark = pytest.mark.check

EXAMPLE = Path(__file__).parents[4] / "examples" / "factory_shop"
ORDERS = """
from app import create_app, db
from aftercommit.sqlite import prepare

app = create_app()
with app.app_context():
    prepare(db.engine)
    db.create_all()
client = app.test_client()
print(*(client.post("/orders", json={"id": number}).status_code for number in (1, 2)))
"""
KEPT = """
from app import Order, create_app, db
with create_app().app_context():
    print(*(order.is_kept for order in db.session.scalars(db.select(Order))))
"""
TEST = """
from aftercommit.alembic import upgrade_tables
from app import Order, create_app, db
from events import outbox

app = create_app("sqlite:///test.db")
with app.app_context():
    db.create_all()
    with db.engine.begin() as connection:
        upgrade_tables(connection)
    app.test_client().post("/orders", json={"id": 1})
    print(outbox.deliver_sync(db.session), db.session.get_one(Order, 1).is_kept)
"""
REGISTRY = """
from aftercommit import Outbox
from app import create_app, db

with create_app("sqlite://").app_context():
    Outbox("shop", lambda: db.engine, [], session=db.session)
"""


class Shop:
    """The example in a folder, with a database."""

    def __init__(self, folder: Path, url: str) -> None:
        shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
        kind = make_url(url).get_backend_name()
        driver = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}[kind]
        url = make_url(url).set(drivername=driver).render_as_string(hide_password=False)
        self._own = {"SHOP_DATABASE": url, "PYTHONPATH": f"{SOURCES}:."}
        self.folder = folder

    def run(self, *arguments: str) -> str:
        """Run Python in this folder, and return what it prints."""
        ran = self.fails(*arguments)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return str(ran.stdout.strip())

    def fails(self, *arguments: str) -> Any:
        """Run Python in this folder; it may fail."""
        command = [sys.executable, *arguments]
        environment = os.environ | self._own
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True
        )


@pytest.fixture
def shop(tmp_path: Path, empty_url: str) -> Shop:
    return Shop(tmp_path / "shop", empty_url)


def test_a_worker_finds_the_application_that_records(shop: Shop) -> None:
    """The command imports the events first, and the web process the application."""
    shop.run("-m", "aftercommit", "db", "upgrade", "events:outbox")

    assert shop.run("-c", ORDERS) == "201 201"
    shop.run("-m", "aftercommit", "worker", "--until-idle", "events:outbox")

    assert shop.run("-c", KEPT) == "True True"
    confirmed = (shop.folder / "confirmations.txt").read_text().splitlines()
    assert {line.rpartition(" ")[0] for line in confirmed} == {"1 app", "2 app"}


def test_a_test_has_an_application_of_its_own(shop: Shop) -> None:
    """With another database, which is that of its context."""
    assert shop.run("-c", TEST) == "2 True"


def test_the_registry_of_flask_sqlalchemy_is_refused_as_the_session_of_handlers(
    shop: Shop,
) -> None:
    """It chooses engines by itself; at start, and not at each delivery."""
    refused = shop.fails("-c", REGISTRY)

    assert refused.returncode == 1
    assert "with a `get_bind` of its own chooses an engine" in refused.stderr.replace("\n", " ")
    assert "leave `session` out" in refused.stderr
