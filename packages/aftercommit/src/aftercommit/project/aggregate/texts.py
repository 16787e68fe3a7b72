"""The texts of the files that are written for an aggregate, with gaps."""

from string import Template

DOMAIN = Template('''"""$Article $words: the aggregate, and its errors."""

import re
from typing import Literal
from uuid import UUID

from $aggregate_base import Aggregate
from $rule_base import RuleViolation
from $input_base import InvalidInput
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

class ${name}NotFound(RuleViolation):
    """No $words has this id."""

    def __init__(self, $key: object) -> None:
        super().__init__(f"there is no $words {$key}")


class ${name}IdTaken(RuleViolation):
    """Another $words has this id."""

    def __init__(self, $key: object) -> None:
        super().__init__(f"there is another $words with the id {$key}")
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
    cli.handle(command)
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

LINES = {
    "message": '''

@dataclass(frozen=True, slots=True, kw_only=True)
class {name}({kind}):
    """{doc}"""

    {key}: UUID
{fields}''',
    "pattern": '_LINE = re.compile(r"[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]+")\n',
    "text": """

def _one_line(what: str, text: str) -> str:
    if len(text) > MAX_LENGTH or not _LINE.fullmatch(text):
        rule = f"1 to {MAX_LENGTH} characters, no line break and no control character"
        raise InvalidInput(f"{what} has {rule}")
    return text
""",
    "int": """

def _not_negative(what: str, number: int) -> int:
    if not 0 <= number <= MAX_NUMBER:
        raise InvalidInput(f"{what} is a number from 0 to {MAX_NUMBER}, and not {number}")
    return number
""",
    "subject": '''    @property
    def subject(self) -> str:
        """Return what its events are about."""
        return str(self.id)

''',
    "ending": '''
    def $verb(self) -> None:
        """Become $state; a repetition changes nothing.

        :raises ${name}IsOver: if it has ended in another way
        """
        if self.state == "$state":
            return
        if self.state != "$first_state":
            raise ${name}IsOver(self.id, self.state)
        self.state = "$state"
        self.record($ended($key=self.id))
''',
    "only_ending": '''
    def $verb(self) -> None:
        """Become $state; a repetition changes nothing."""
        if self.state != "$state":
            self.state = "$state"
            self.record($ended($key=self.id))
''',
    "query": '''
async def is_${snake}_$state(database: Database, $key: UUID) -> bool:
    """Tell whether $article $words was $said."""
    return (await $snake(database, $key)).state == "$state"

''',
    "over": '''

class ${name}IsOver(RuleViolation):
    """The $words has ended in another way."""

    def __init__(self, $key: object, state: str) -> None:
        super().__init__(f"$words {$key} is {state}")
''',
    "taken": '''

class $error(RuleViolation):
    """Another $words has this $field.

    The database refuses the second one, also if both come at the same time.
    """

    def __init__(self, $field: object) -> None:
        super().__init__(f"there is $article $words with the $field {$field} already")
''',
    "ending_handler": '''

async def $handler(command: $commands_name.$command, uow: UnitOfWork) -> None:
    """$title_of $article $words."""
    $snake = await uow.$plural.get(command.$key)
    $snake.$verb()
''',
    "ending_command": '''

@click.command()
@click.argument("$key", type=click.UUID)
@click.pass_obj
def $handler(cli: CommandLine[Settings], $key: UUID) -> None:
    """$verb $article $words."""
    cli.handle($command($key=$key))
''',
    "ending_endpoint": '''

@guarded.post(
    "/$path/{$key}/$verb",
    status_code=204,
    responses=errors($errors),
    tags=["$path"],
)
async def $handler($key: UUID, execution: Execution) -> None:
    """$does $article $words."""
    await execution.execute($command($key=$key))
''',
    "type_text": """Text = Annotated[
    str,
    Field(max_length=MAX_LENGTH, pattern=r"^[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]+$$", examples=["lamp"]),
]
""".replace("$$", "$"),
    "type_email": """Address = Annotated[
    str,
    Field(max_length=254, examples=["ivan@example.com"], json_schema_extra={"format": "idn-email"}),
]
""",
    "type_int": "Number = Annotated[int, Field(ge=0, le=MAX_NUMBER, examples=[100])]\n",
    "table": """$plural = sa.Table(
    "$plural",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
$columns    sa.Column("state", sa.String, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
)
""",
    "refusal": """match [each for each in seen if isinstance(each, $name)]:
    case [$snake]:
        $meanings
""",
    "refusals": '''
    def refusals(self, seen: Sequence[object]) -> Refusals:
        """Return what a violated constraint means, by its name."""
        meanings: dict[str, Exception] = {}
$match
        return meanings
''',
}
