"""The synchronous web application of examples/flask_shop, under gunicorn: changed, and killed."""

import difflib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aftercommit_tests.outbox.processes.test_shop import ARTICLE, Shop, files
from aftercommit_tests.processes import a_free_port, asked, finished, started, wait_until
from aftercommit_tests.proxy import postgres_behind_a_proxy
from aftercommit_tests.warm import SOURCES

pytestmark = [pytest.mark.on("postgres"), pytest.mark.check]

EXAMPLE = Path(__file__).parents[4] / "examples" / "flask_shop"
DYING = Path(__file__).with_name("dying_gunicorn.py")
MOST_CHANGED_LINES = 30
PRELOADED = """
import atexit
import os
from contextlib import ExitStack

import effects

send = effects.send_confirmation
effects.send_confirmation = lambda id, email, key: send(id, f"{os.getpid()}@{email}", key)

from events import outbox
from main import app

running = ExitStack()
running.enter_context(outbox.running_sync())
atexit.register(running.close)


@app.get("/process")
def process():
    return str(os.getpid())
"""
COUNTED = """

from pathlib import Path

begin = post_worker_init


def post_worker_init(worker):
    begin(worker)
    Path(f"{worker.pid}.begun").touch()
"""


class FlaskShop(Shop):
    """The application in a folder of its own, on a database, before or after the change."""

    def __init__(self, folder: Path, url: str, version: str) -> None:
        self.folder, self.port, self._url = folder, a_free_port(), url
        database = url.replace("postgresql:", "postgresql+psycopg:")
        self.environment = {"PYTHONPATH": SOURCES, "SHOP_DATABASE": database, "PATH": "/usr/bin"}
        shutil.copytree(EXAMPLE / version, folder, dirs_exist_ok=True)
        create = "flask", "--app", "main", "create-tables"
        made = finished(started(*create, folder=folder, environment=self.environment))
        assert made.returncode == 0, made.stderr
        self.ask(ARTICLE)

    @contextmanager
    def running(self, *command: str) -> Iterator[None]:
        """Serve beside the test."""
        served = command or ("main:app",)
        options = (f"--bind=127.0.0.1:{self.port}", "--log-level=warning")
        with super().running("gunicorn", *options, *served):
            yield


@pytest.fixture
def new_shop(empty_url: str, tmp_path: Path) -> Callable[[str], FlaskShop]:
    """What makes the application, with ten lamps."""
    return lambda version: FlaskShop(tmp_path / "shop", empty_url, version)


def test_what_follows_an_order_is_done(new_shop: Callable[[str], FlaskShop]) -> None:
    """Of each of them, once in the database."""
    shop = new_shop("after")
    with shop.running():
        for number in range(5):
            shop.order(f"{number}@example.com")
        wait_until(lambda: len(shop.confirmed()) == 5 and shop.has_delivered())

    assert shop.confirmed() == [f"{number}@example.com" for number in range(5)]
    assert shop.ask("SELECT in_stock FROM articles") == [(5,)]


@pytest.mark.parametrize("version", ["before", "after"])
def test_an_order_whose_process_is_killed_is_followed_up_only_after_the_change(
    new_shop: Callable[[str], FlaskShop], version: str
) -> None:
    """The order is stored in both; what follows from it is lost in one of them."""
    shop = new_shop(version)
    with shop.running("-c", str(DYING), "main:app"):
        shop.order("ivan@example.com")
        wait_until(lambda: asked(shop.port, "/orders")[0] == 0)
    assert shop.ask("SELECT email FROM orders") == [("ivan@example.com",)]
    assert shop.ask("SELECT in_stock FROM articles") == [(10,)]

    with shop.running():
        shop.order("maria@example.com")
        wait_until(lambda: "maria@example.com" in shop.confirmed())
        if version == "after":
            wait_until(shop.has_delivered)

    both = ["ivan@example.com", "maria@example.com"]
    assert shop.confirmed() == (both if version == "after" else both[1:])
    assert shop.ask("SELECT in_stock FROM articles") == [(8 if version == "after" else 9,)]


def test_a_process_that_is_forked_with_a_worker_gets_its_own(
    new_shop: Callable[[str], FlaskShop],
) -> None:
    """As by `--preload`: the worker's thread stays in the process that has loaded it."""
    shop = new_shop("after")
    (shop.folder / "preloaded.py").write_text(PRELOADED)
    (shop.folder / "none.py").write_text("")
    numbers = iter(range(10_000))
    with shop.running("-c", "none.py", "--preload", "--workers=1", "preloaded:app"):
        process = asked(shop.port, "/process")[1]

        def is_delivered_there() -> bool:
            shop.order(f"{next(numbers)}@example.com")
            wait_until(shop.has_delivered)
            return any(email.startswith(f"{process}@") for email in shop.confirmed())

        wait_until(is_delivered_there)


def test_a_process_that_begins_without_a_database_ends_no_other(
    new_shop: Callable[[str], FlaskShop], empty_url: str
) -> None:
    """It begins again until the database is there; for any other error, gunicorn ends them all."""
    shop = new_shop("after")
    errors = shop.folder / "errors.log"
    with (shop.folder / "gunicorn.conf.py").open("a") as configuration:
        configuration.write(COUNTED)
    with postgres_behind_a_proxy(empty_url, port=a_free_port()) as (url, proxy):
        shop.environment["SHOP_DATABASE"] = url.replace("postgresql:", "postgresql+psycopg:")
        with shop.running("main:app", f"--error-logfile={errors}"):
            wait_until(lambda: len([*shop.folder.glob("*.begun")]) == 2)
            proxy.cut()
            os.kill(int(next(shop.folder.glob("*.begun")).stem), signal.SIGKILL)
            wait_until(lambda: errors.read_text().count("exited with code 1") > 1)
            assert asked(shop.port, "/nowhere")[0] == 404

            proxy.open()
            shop.order("ivan@example.com")
            wait_until(shop.has_delivered)

    assert shop.confirmed() == ["ivan@example.com"]


def test_the_change_is_small() -> None:
    """A few lines, and one new file."""
    before, after = files(EXAMPLE / "before"), files(EXAMPLE / "after")
    added = [
        line
        for name, lines in before.items()
        for line in difflib.ndiff(lines, after[name])
        if line.startswith("+ ")
    ]

    assert after.keys() - before.keys() == {"events.py"}
    assert len(added) <= MOST_CHANGED_LINES
