"""The texts of what an aggregate has several of: fields, errors, and the commands that end it."""

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
        rule = f"has not 1 to {MAX_LENGTH} characters, or a line break or a control character in it"
        raise InvalidValue(what, rule)
    return text
""",
    "int": """

def _not_negative(what: str, number: int) -> int:
    if not 0 <= number <= MAX_NUMBER:
        raise InvalidValue(what, f"is a number from 0 to {MAX_NUMBER}, and not {number}")
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

class ${name}IsOver(RuleViolation, says="$words {} is {}"):
    """The $words has ended in another way."""
''',
    "taken": '''

class $error(RuleViolation, says="there is $article $words with the $field {} already"):
    """Another $words has this $field.

    The database refuses the second one, also if both come at the same time.
    """
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
}
