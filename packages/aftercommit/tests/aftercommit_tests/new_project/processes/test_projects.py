"""A project is green as it comes: with and without options, here and on a fresh machine."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from aftercommit.project import OPTIONS, new_project

from aftercommit_tests.extensions.smtp.sending import Mailbox, keeping
from aftercommit_tests.new_project.processes import run, types_of
from aftercommit_tests.warm import ROOT

pytestmark = pytest.mark.check


@pytest.mark.parametrize("options", [[], ["--brokers"]], ids=str)  # HTTP: test_aggregates.py
def test_its_types_and_tests_are_right_with_each_option(
    options: list[str], tmp_path: Path, shared_folder: Path
) -> None:
    """What an option leaves out, nothing else needs."""
    new_project(tmp_path / "kiosk", options)

    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "tmp")]
    for ran in (types_of(tmp_path / "kiosk", shared_folder), run(tmp_path / "kiosk", *pytest)):
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_it_sends_real_mail_as_soon_as_a_mail_server_is_named(
    tmp_path: Path, free_tcp_port: int
) -> None:
    """There is nothing to write for it: an entry in its list of extensions brings the port."""
    new_project(tmp_path / "kiosk", [])
    of_mail = {"KIOSK_MAIL_FROM": "kiosk@example.com"}
    of_mail["KIOSK_MAIL_URL"] = f"smtp://127.0.0.1:{free_tcp_port}"
    mailbox = Mailbox()

    with keeping(mailbox, free_tcp_port):
        order = ("-m", "kiosk", "place-order", "ivan@example.com", "lamp=2")
        ran = run(tmp_path / "kiosk", *order, **of_mail)

    assert ran.returncode == 0, ran.stderr
    [received] = mailbox.emails
    assert (received["From"], received["Subject"]) == ("kiosk@example.com", "Your order")
    assert str(received["Message-ID"]).strip().endswith(".confirm_order@kiosk>")


HOSTILE = [
    "a@=?utf-8?q?evil.com=0D=0ABcc=3A_eve=40evil.com?=.com",
    "=?utf-8?q?ivan=2C?=@example.com",
    "ivan@example.com\r\nBcc: eve@evil.com",
    "ivan@example.com,eve@evil.com",
    "ivan@exa,mple.com",
    "Ivan <ivan@example.com>",
]
BORDERS = """
import json, sys
import anyio
from aftercommit.extensions.brokers.cloud_events import from_cloud_event
from aftercommit.extensions.web.testing import http_client
from click.testing import CliRunner
from kiosk import views
from kiosk.bootstrap import CODEC
from kiosk.domain.bases import InvalidValue
from kiosk.entrypoints.app import APP, cli
from kiosk.entrypoints.broker_messages import ACCEPTED_FROM_BROKERS

settings = APP.load({})
accepted = {CODEC.name_of(each): each for each in ACCEPTED_FROM_BROKERS}

async def enter(hostile):
    told = []
    async with APP.open(settings) as application:
        order = {"email": hostile, "articles": {"lamp": 1}}
        async with http_client(APP, settings, application) as client:
            told.append((await client.post("/orders", json=order)).status_code)
        data = {**order, "order_id": "7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11"}
        said = {"specversion": "1.0", "id": "m1", "source": "/team", "type": "place_order"}
        body = json.dumps({**said, "data": data}).encode()
        try:
            await application.bus.execute(*from_cloud_event(body, CODEC, accepted))
            told.append("accepted")
        except InvalidValue:
            told.append("refused")
        return [*told, len(await views.orders(application.database))]

CliRunner().invoke(cli, ["db", "upgrade"])
for hostile in json.loads(sys.argv[1]):
    ended = CliRunner().invoke(cli, ["place-order", hostile, "lamp"]).exit_code
    print(ended, *anyio.run(enter, hostile))
"""


def test_nobody_writes_the_head_of_its_e_mails_whichever_way_they_come(tmp_path: Path) -> None:
    """Its command line, HTTP and brokers have one rule, which is the domain's."""
    new_project(tmp_path / "kiosk", [*OPTIONS])

    ran = run(tmp_path / "kiosk", "-c", BORDERS, json.dumps(HOSTILE))

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["2 422 refused 0"] * len(HOSTILE)


README_IS_RIGHT = """
import re, sys
from pathlib import Path
from kiosk.entrypoints.app import cli

pages = Path("README.md"), Path("docs/guides.md")
text, missing = "".join(page.read_text() for page in pages), []
for line in re.findall(r"`kiosk ([a-z][^`]*)`", text):
    command, (name, *words) = cli, line.split()
    command = cli.commands[name].load()
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    known = {option for each in command.params for option in each.opts}
    missing += [f"{line}: {word}" for word in words if word.startswith("--") and word not in known]
    missing += [line] if hasattr(command, "commands") else []
folders = (Path("."), Path("src/kiosk"), Path("src/kiosk/adapters"))
for name in re.findall(r"`([a-z_/]+\\.py)`", text):
    missing += [] if any((folder / name).exists() for folder in folders) else [name]
sys.exit("\\n".join(missing) or 0)
"""


def test_its_readme_names_commands_and_files_that_are_there(tmp_path: Path) -> None:
    """With their options."""
    new_project(tmp_path / "kiosk", [*OPTIONS])

    ran = run(tmp_path / "kiosk", "-c", README_IS_RIGHT)

    assert ran.returncode == 0, ran.stderr


SNIPPETS = """
import sys
from datetime import datetime
from importlib import import_module

names = {"__name__": "kiosk.snippet"}
for module in (
    *("adapters.orm", "adapters.repositories"),
    *("domain.orders", "service_layer.unit_of_work", "service_layer.handlers"),
):
    names |= vars(import_module(f"kiosk.{module}"))
exec("from collections.abc import Callable, Sequence", names)
exec("from aftercommit import PUBLISH, Handlers, Limited, Ordered, Refusals", names)
exec("from aftercommit import Repository, Transaction, on", names)
exec("from kiosk.domain import messages; from datetime import datetime, timedelta", names)
exec("from kiosk.adapters import orm; from kiosk.domain.orders import OrderNotFound", names)
exec("bookings = sa.Table('bookings', sa.MetaData(), sa.Column('article', sa.Text))", names)
exec(sys.argv[1], names)
if "events" in sys.argv[1]:
    commands = names["HANDLERS"].commands.items()
    names["Handlers"](commands=[names["on"](*each) for each in commands], events=names["events"])
"""
SNIPPET = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_the_snippets_of_its_guides_run(tmp_path: Path) -> None:
    """With the names that the project has where they belong."""
    new_project(tmp_path / "kiosk", [*OPTIONS])
    snippets = SNIPPET.findall((tmp_path / "kiosk" / "docs" / "guides.md").read_text())

    assert len(snippets) > 4
    for snippet in snippets:
        ran = run(tmp_path / "kiosk", "-c", SNIPPETS, snippet)
        assert ran.returncode == 0, snippet + ran.stderr


QUERIED = """

async def test_the_orders_of_a_customer_are_found(application: Application) -> None:
    \"\"\"And no others.\"\"\"
    order_id = await place(application, lamp=1)

    async with testing.unit_of_work(application) as uow:
        found = [order.id for order in await uow.orders.of("ivan@example.com")]
        assert (found, [*await uow.orders.of("maria@example.com")]) == ([order_id], [])
"""


def test_the_guides_to_a_query_and_to_a_hot_aggregate_work(
    tmp_path: Path, shared_folder: Path
) -> None:
    """Copied where they say, they are right for the type checker, and on both databases."""
    folder = tmp_path / "kiosk"
    new_project(folder, [])
    snippets = SNIPPET.findall((folder / "docs" / "guides.md").read_text())
    [query] = [each for each in snippets if "class Orders" in each]
    file = folder / "src" / "kiosk" / "service_layer" / "unit_of_work.py"
    text = file.read_text().replace(
        "Repository[Order, UUID](store, Order, OrderNotFound)", "Orders(store)"
    )
    text = text.replace("from typing", "from collections.abc import Sequence\nfrom typing", 1)
    query = query.replace("OrderNotFound)", "OrderNotFound, locked=True)")
    file.write_text(text.replace("class UnitOfWork", f"{query}\n\nclass UnitOfWork"))
    with (folder / "tests" / "integration" / "test_database.py").open("a") as own:
        own.write(QUERIED)

    tests = ("-q", "-p", "no:cacheprovider", "tests/integration/test_database.py")
    for ran in (types_of(folder, shared_folder), run(folder, "-m", "pytest", *tests)):
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_it_runs_again_when_its_code_has_changed(tmp_path: Path) -> None:
    """`make dev`, with the settings of `.env`."""
    folder = tmp_path / "kiosk"
    new_project(folder, [])
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    (folder / ".venv" / "installed").touch()
    (programs / "watchfiles").symlink_to(Path(sys.executable).parent / "watchfiles")
    program = programs / "kiosk"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m kiosk "$@"\n')
    program.chmod(0o755)
    (folder / ".env").write_text("KIOSK_DATABASE_URL=sqlite:///of-env.db\n")
    environment = os.environ | {"PYTHONPATH": str(folder / "src"), "MAKEFLAGS": ""}
    touched = folder / "src" / "kiosk" / "views.py"

    with subprocess.Popen(
        ["make", "-s", "-C", str(folder), "dev"],
        env=environment,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as process:
        assert process.stderr
        begun = 0
        try:
            for line in process.stderr:
                if "has begun" not in line:
                    continue
                begun += 1
                if begun == 2:
                    break
                touched.write_text(touched.read_text() + "\n")
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.communicate(timeout=60)

    assert begun == 2
    assert (folder / "of-env.db").exists()


def test_a_migration_is_made_of_its_tables(tmp_path: Path) -> None:
    """As `make migration` does; also one that SQLite needs a new table for."""
    folder = tmp_path / "kiosk"
    new_project(folder, [])
    file = folder / "src" / "kiosk" / "adapters" / "orm.py"
    text = file.read_text()
    file.write_text(
        text.replace('"email", sa.String, nullable', '"email", sa.String, unique=True, nullable')
    )

    history = "kiosk.adapters.orm:HISTORY"
    ran = run(folder, "-m", "aftercommit.project.migration", history, "One order for each address")

    assert ran.returncode == 0, ran.stderr
    [made] = folder.rglob("kiosk_0002_one_order_for_each_address.py")
    assert "batch_alter_table" in made.read_text()
    order = run(folder, "-m", "kiosk", "place-order", "ivan@example.com", "lamp")
    assert order.returncode == 0, order.stderr


def test_the_commands_of_its_readme_work_in_an_environment_of_its_own(tmp_path: Path) -> None:
    """With all options, and the engine's wheels, as a new user would."""
    folder = tmp_path / "kiosk"
    options = " ".join(OPTIONS)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    make = ["make", "-s", "-C", str(ROOT), "new", f"DIR={folder}", f"OPTIONS={options}"]
    subprocess.run(make, check=True, env=clean | {"MAKEFLAGS": ""})

    for targets in (["run", "test"], ["coverage"]):  # as README and the workflow say
        make = ["make", "-C", str(folder), *targets]
        ran = subprocess.run(make, env=clean, capture_output=True, text=True, timeout=600)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "run" not in targets or "1 placed, 0 cancelled" in ran.stdout
