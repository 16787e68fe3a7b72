"""The texts of the files that are written for an aggregate, with gaps."""

from string import Template

DOMAIN = Template('''"""$Article $words: the aggregate, and its errors."""

import re
from typing import Literal
from uuid import UUID

from $aggregate_base import Aggregate
from $rule_base import RuleViolation
from $input_base import InvalidValue
from $events_module import $events
$values

${name}State = Literal[$states]
$constants

class $name(Aggregate):
    """$Article $words: it is ${life}."""

    def __init__(self, $key: UUID$parameters) -> None:
        self.id = $key
        $attributes
        self.state: ${name}State = "$first_state"
        self.version = 0

    @classmethod
    def $first(cls, $key: UUID$parameters) -> "$name":
        """Make a new one, and record $event."""
        $snake = cls($key$arguments)
        $snake.record($event($key=$key$of_event))
        return $snake

$subject    def require_same(self, other: "$name") -> None:
        """Accept a repetition, which changes nothing, but not one with other data.

        :raises ${name}IdTaken: if the other one differs
        """
        if $same != $other:
            raise ${name}IdTaken(self.id)
$methods

class ${name}NotFound(RuleViolation, says="there is no $words {}"):
    """No $words has this id."""


class ${name}IdTaken(RuleViolation, says="there is another $words with the id {}"):
    """Another $words has this id."""
$errors
$checks
''')

HANDLERS = Template('''"""The handlers of ${plural_words}; their entries are in the table of `handlers.py`."""

$commands_import
from $package.domain.$plural import $name
from $package.service_layer.unit_of_work import UnitOfWork


async def $handler(command: $commands_name.$First, uow: UnitOfWork) -> None:
    """$First_title $article $words, unless it exists."""
    $snake = $name.$first(command.$key$given)
    if known := await uow.$plural.find($snake.id):
        known.require_same($snake)
    else:
        uow.$plural.add($snake)
$more''')

COMMANDS = Template('''"""The commands about ${plural_words}: words become commands, and rows become lines."""

from uuid import UUID, uuid4

import click
from aftercommit import Application, CommandLine

from $package import views
from $package.config import Settings
from $commands_module import $commands


@click.command()
$arguments_of@click.option("--${option}", type=click.UUID, help="The id; repetitions change nothing.")
@click.pass_obj
def $handler(cli: CommandLine[Settings]$parameters, $key: UUID | None) -> None:
    """$verb $article $words."""
    command = $First($key=$key or uuid4()$passed)
    cli.handle(command, repeat_with=f"--${option} {command.$key}")
    click.echo(f"$words {command.$key} is $first_state")
$more

@click.command()
@click.pass_obj
def $plural(cli: CommandLine[Settings]) -> None:
    """List all $plural_words."""
    cli.run(cli.load_settings(), _list)


async def _list(application: Application) -> None:
    for row in await views.$plural(application.database):
        click.echo("  ".join(map(str, (row.$key, row.state$shown))))
''')

ENDPOINTS = Template('''"""The endpoints about ${plural_words}.

`public` is for everybody, `guarded` for requests with the operator's token.
"""

from typing import Annotated
from uuid import UUID

from aftercommit.extensions.web.endpoints import OF_BODIES, Execution, Running, errors
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from $package import views
from $commands_module import $commands
from $package.domain.$plural import $errors, ${name}State
$values
public, guarded = APIRouter(), APIRouter()

$types

class New$name(BaseModel):
    """The data of $article $words. Without an id, the server makes one."""

    model_config = ConfigDict(extra="forbid")
    $key: UUID | None = None
$new_fields

class ${name}Response(BaseModel):
    """$Article $words as it is now."""

    model_config = ConfigDict(from_attributes=True)
    $key: UUID
$fields    state: ${name}State


LOCATION = {"Location": {"description": "Where it is.", "schema": {"type": "string"}}}


@guarded.post(
    "/$path",
    status_code=201,
    responses={201: {"headers": LOCATION}, **errors($refused), **OF_BODIES},
    tags=["$path"],
)
async def $handler(
    new: New$name, execution: Execution, request: Request, response: Response
) -> New$name:
    """$does $article $words."""
    new.$key = new.$key or execution.new_id()
$as_stored    await execution.execute($First($key=new.$key$passed))
    location = request.app.url_path_for("get_$snake", $key=new.$key)
    response.headers["Location"] = location
    return new


@guarded.get("/$path/{$key}", responses=errors(${name}NotFound), tags=["$path"])
async def get_$snake($key: UUID, running: Running) -> ${name}Response:
    """Show $article $words."""
    row = await views.$snake(running.database, $key)
    return ${name}Response.model_validate(row)
$more''')

VIEWS = Template('''@dataclass(frozen=True, slots=True, kw_only=True)
class ${name}Row:
    """$Article $words, for display."""

    $key: UUID
    state: ${name}State
$fields

async def $plural(database: Database) -> list[${name}Row]:
    """Return all $plural_words, by id."""
    async with database.read_transaction() as transaction:
        found = (await transaction.execute(_$upper.order_by(orm.$plural.c.id))).mappings()
        return [${name}Row(**row) for row in found]


async def $snake(database: Database, $key: UUID) -> ${name}Row:
    """Return $article $words.

    :raises ${name}NotFound: if none has this id
    """
    this = _$upper.where(orm.$plural.c.id == $key)
    async with database.read_transaction() as transaction:
        row = (await transaction.execute(this)).mappings().one_or_none()
    if row is None:
        raise ${name}NotFound($key)
    return ${name}Row(**row)

$queries
_$upper = sa.select(
    orm.$plural.c.id.label("$key"),
    orm.$plural.c.state,
$columns)
''')

MIGRATION = Template('''"""$Plural can be stored."""

import sqlalchemy as sa
from alembic import op

revision = "$revision"
down_revision = "$before"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "$plural",
        sa.Column("id", sa.Uuid(), nullable=False),
        $columns
    )
''')
