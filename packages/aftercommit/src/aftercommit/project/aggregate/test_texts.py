"""The texts of the tests that are written for an aggregate, with gaps."""

from string import Template

BUILDER = Template("""from uuid import UUID, uuid4

from $package.domain.$plural import $name
from $commands_module import $First


def ${a}_$snake(*$defaults) -> $name:
    return $name.$first(uuid4()$built)


def ${a}_${snake}_command(*, $key: UUID | None = None$defaults) -> $First:
    return $First($key=$key or uuid4()$built)
""")

UNIT = Template('''"""The rules of $plural_words and their handlers, called directly."""

from dataclasses import replace
from uuid import uuid4

import pytest

from $commands_module import $commands
from $events_module import $events
from $input_base import InvalidValue
from $package.domain.$plural import $domain_names
from $package.service_layer.${snake}_handlers import $handlers
from tests.builders import ${a}_$snake, ${a}_${snake}_command
from tests.unit.memory import MemoryUnitOfWork

pytestmark = pytest.mark.anyio


async def test_${a}_${snake}_is_${first_state}() -> None:
    """It records an event, on which others act."""
    await $handler(command := ${a}_${snake}_command(), uow := MemoryUnitOfWork())

    [$snake] = uow.store.seen
    assert isinstance($snake, $name)
    assert ($snake.id, $snake.state) == (command.$key, "$first_state")
    assert uow.store.pull_events() == [$event($key=command.$key$of_aggregate)]


async def test_${a}_${snake}_that_comes_again_changes_nothing() -> None:
    """A sender without an answer may repeat it."""
    command = ${a}_${snake}_command()
    await $handler(command, first := MemoryUnitOfWork())

    await $handler(command, uow := MemoryUnitOfWork(*first.store.seen))

    assert uow.store.pull_events() == []
''')

ENDED = Template('''

async def test_${a}_${snake}_is_${last_state}_once() -> None:
    """A repetition records no event."""
    uow = MemoryUnitOfWork($snake := ${a}_$snake())

    for _ in range(2):
        await $last_handler($Last($key=$snake.id), uow)

    assert uow.store.pull_events() == [$last_event($key=$snake.id)]
    with pytest.raises(${name}NotFound):
        await $last_handler($Last($key=uuid4()), uow)
''')

OVER = Template('''

def test_${a}_${snake}_that_is_${end_state}_is_not_${last_state}() -> None:
    """It ends only once."""
    $snake = ${a}_$snake()
    $snake.$end()

    with pytest.raises(${name}IsOver, match="is $end_state"):
        $snake.$last()
''')

TAKEN_ID = Template('''

async def test_another_${snake}_with_the_same_id_is_refused() -> None:
    """Otherwise, its sender would think that it is stored."""
    uow = MemoryUnitOfWork($snake := ${a}_$snake())

    with pytest.raises(${name}IdTaken):
        await $handler(${a}_${snake}_command($key=$snake.id, $field=$other), uow)
''')

WRONG_VALUES = Template('''

@pytest.mark.parametrize(
    ("field", "value"),
    [
        $cases
    ],
)
async def test_what_no_${snake}_can_have_is_refused(field: str, value: object) -> None:
    """Nothing is stored."""
    wrong = replace(${a}_${snake}_command(), **{field: value})  # type: ignore[arg-type]
    with pytest.raises(InvalidValue):
        await $handler(wrong, uow := MemoryUnitOfWork())

    assert uow.store.seen == []
''')

INTEGRATION = Template('''"""$Plural through the bus, on each database."""

from collections.abc import AsyncIterator

import pytest
from aftercommit import Application

from $package import views
from $package.config import Settings
from $commands_module import $commands
from $package.domain.$plural import $domain_names
from $package.entrypoints.app import APP
from tests.builders import ${a}_${snake}_command

pytestmark = pytest.mark.anyio


@pytest.fixture
async def application($settings: Settings) -> AsyncIterator[Application]:
    """The application with its real adapters."""
    async with APP.open($settings) as application:
        yield application


async def test_${a}_${snake}_is_stored_as_it_was_$first_state(application: Application) -> None:
    """Its end is stored, too."""
    report = await application.bus.handle(command := ${a}_${snake}_command())
    assert report.failures == []
    [row] = await views.$plural(application.database)
    assert (row.$key, row.state$row_fields) == (command.$key, "$first_state"$command_fields)
$ended''')

UNIQUE = Template('''

async def test_no_two_have_the_same_$field(application: Application) -> None:
    """If two come at the same time, the database refuses the second."""
    await application.bus.handle(first := ${a}_${snake}_command())

    with pytest.raises($error):
        await application.bus.handle(${a}_${snake}_command($field=first.$field))
''')

E2E = Template('''"""The commands about $plural_words, each in a process of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from aftercommit import testing

from $package.entrypoints.app import APP


def test_${a}_${snake}_is_${first_state}_and_listed(tmp_path: Path) -> None:
    """The commands are those that a user would type."""
    url = testing.sqlite_url(APP, tmp_path)
    others = {name: os.environ[name] for name in os.environ if not name.startswith("${prefix}_")}

    def output_of(*words: str) -> str:
        command = [sys.executable, "-m", "$package", *words]
        environment = {**others, "${prefix}_DATABASE_URL": url}
        run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return run.stdout

    made = output_of("$dashed_handler"$words_of_fields)
    [$key] = re.findall(r"$words ([0-9a-f-]{36}) is $first_state", made)
$then''')

HTTP = Template('''"""The endpoints about $plural_words, as clients call them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import httpx
import pytest
from aftercommit import testing
from aftercommit.extensions.web.settings import WebSettings
from aftercommit.extensions.web.testing import http_client

from $package.config import Settings
from $package.entrypoints.app import APP

pytestmark = pytest.mark.anyio

OPERATOR = {"Authorization": "Bearer of-the-operator"}


@pytest.fixture
def anyio_backend() -> str:
    """HTTP is served on asyncio only."""
    return "asyncio"


@pytest.fixture
async def client($settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token."""
    web = WebSettings(operator_token="of-the-operator")
    async with APP.open($settings) as application:
        of_web = replace($settings, of_extensions=(web,))
        async with http_client(APP, of_web, application) as client:
            yield client


async def test_${a}_${snake}_is_${first_state}_and_shown(client: httpx.AsyncClient) -> None:
    """Only the operator may do and see that."""
    new = {$http_fields}
    made = await client.post("/$path", json=new, headers=OPERATOR)
    assert made.status_code == 201

    shown = await client.get(made.headers["Location"], headers=OPERATOR)

    assert shown.json() == {**made.json(), "state": "$first_state"}
    assert (await client.get(made.headers["Location"])).status_code == 401
    assert (await client.post("/$path", json=new)).status_code == 401
    missing = await client.get(f"/$path/{uuid4()}", headers=OPERATOR)
    assert missing.headers["content-type"] == "application/problem+json"
$http_then''')
