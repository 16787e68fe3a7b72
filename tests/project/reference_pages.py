"""Makes whole pages of the documentation out of the code: nothing is written twice, nothing rots.

`generated.py` writes them: which test checks which promise, the tables, the commands, and the
message flow. What a machine cannot know, such as which event a handler records, stands here; what a
column means, in `table_meanings.py`.
"""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from inspect import signature
from typing import Any, get_type_hints

import click
import sqlalchemy as sa
from aftercommit import PUBLISH, Later
from aftercommit.handler_rows import handler_name, handler_of
from aftercommit.process.cli.main import GroupedCommands, LazyCommand
from aftercommit.sql import tables as engine_tables
from aftercommit.sql.delivery_states import delivery_state

from allocation.adapters import orm
from allocation.domain.events import Event
from allocation.entrypoints.app import cli
from allocation.service_layer.handlers import HANDLERS
from tests.project.table_meanings import COLUMNS, EACH_STATE, WRITERS
from tools.files import ROOT

PROOFS: Mapping[str, list[str]] = tomllib.loads(
    (ROOT / "tests" / "project" / "proofs.toml").read_text()
)
PROMISING = [ROOT / "docs" / name for name in ("guarantees.md", "extensions.md")]
RECORDS = {
    "register_user": ["UserRegistered"],
    "import_users": ["UserRegistered"],
    "change_email": ["EmailChanged"],
    "record_bounce": ["EmailBounced"],
    "redeem_coupon": ["CouponRedeemed"],
    "allocate_welcome_coupon": ["CouponAllocated", "CouponDenied", "CouponBatchExhausted"],
    "expire_coupon": ["CouponExpired"],
}
"""The events that each handler records, by way of its aggregates."""
SENDS = {"user_mail": "e-mail", "notifications": "e-mail"}
Handler = Callable[..., Any]
PUBLISHES = "publish_event"


def promises() -> dict[str, str]:
    """Return the title of each promise, and the page that makes it."""
    return {
        title: page.name
        for page in PROMISING
        for title in re.findall(r"^### (.+)$", page.read_text(), re.MULTILINE)
    }


def promise_tests() -> Iterator[str]:
    """Yield each promise with a link to it, and its tests."""
    for title, page in promises().items():
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        yield from ["", f"**[{title}]({page}#{anchor})**", ""]
        for proof in PROOFS.get(title, ()):
            file, _, name = proof.partition("::")
            yield f"- [{file.rpartition('/')[2]}](../{file}): `{name}`"


FIRST_PATH = {
    "README.md": "[README](../README.md), and run its commands",
    "docs/architecture.md": "[Architecture](architecture.md), to the end of *What bootstrap wires*",
    "docs/life-of-a-delivery.md": (
        "[Life of a delivery](life-of-a-delivery.md), as far as *All states*, without it"
    ),
}
END_OF_READING = ("\n## Where an extension", "\n## All states")
WORDS_A_MINUTE = 200


def first_path() -> Iterator[str]:
    """Yield the pages of the first twenty minutes, with what there is to read and to run."""
    total, diagrams = 0, 0
    for number, (name, what) in enumerate(FIRST_PATH.items(), 1):
        text = (ROOT / name).read_text()
        for end in END_OF_READING:
            text = text.partition(end)[0]
        programs = len(re.findall(r"^\$ (?!git clone|kill|\.)", text, re.MULTILINE))
        total += (words := len(words_of(text)))
        diagrams += text.count("```mermaid")
        run = f", {programs} programs" * bool(programs)
        yield f"{number}. {what}: {round(words, -1):,} words{run}."
    yield ""
    yield f"In all {round(total, -2):,} words: {total // WORDS_A_MINUTE} minutes to read. The other"
    yield f"minutes are for {diagrams} diagrams, the code and the programs."


def words_of(page: str) -> list[str]:
    """Return the words of a page that are read: without code, comments, and where links lead."""
    prose = re.sub(r"```.*?```|<!--.*?-->|(?<=\])\([^)]*\)", "", page, flags=re.DOTALL)
    return re.findall(r"[^\W\d_][\w'-]*", prose)


def tables() -> Iterator[str]:
    """Yield a section for each table: its columns, what they hold, and who writes it."""
    for metadata in (engine_tables.metadata, orm.metadata):
        for table in sorted(metadata.tables.values(), key=lambda table: table.name):
            yield from ["", f"## {table.name}", ""]
            if writer := WRITERS.get(table.name):
                yield from [f"Written by {writer}.", ""]
            yield from ["| column | type | |", "|---|---|---|"]
            for column in table.columns:
                yield f"| `{column.name}` | {_type_of(column)} | {_meaning(table, column)} |"


def _type_of(column: "sa.Column[object]") -> str:
    kind = column.type.impl if isinstance(column.type, sa.TypeDecorator) else column.type
    marks = ["key"] * column.primary_key + ["may be empty"] * bool(column.nullable)
    return ", ".join([type(kind).__name__.lower(), *marks])


def _meaning(table: sa.Table, column: "sa.Column[object]") -> str:
    """Return what is said of a column; those of the application may speak for themselves."""
    meaning = COLUMNS.get(f"{table.name}.{column.name}") or COLUMNS.get(column.name)
    says_nothing = not meaning and table.metadata is engine_tables.metadata
    assert not says_nothing, f"say in table_meanings.py what {table.name}.{column.name} means"
    return meaning or ""


def states() -> Iterator[str]:
    """Yield what the row of a delivery looks like in each state; the first that fits counts."""
    yield from ["| state | its row | means |", "|---|---|---|"]
    names = [str(then.effective_value) for _, then in delivery_state(sa.literal(0.0)).whens]
    for name in [*names, "due"]:
        row, meaning = EACH_STATE[name]
        yield f"| {name.replace('_', ' ')} | {row} | {meaning} |"


def command_line() -> Iterator[str]:
    """Yield the help of each command, as `--help` prints it."""
    yield from _help_of(_context(cli, "allocation"))


def _context(
    command: click.Command, name: str, parent: click.Context | None = None
) -> click.Context:
    """Return the context of a call, in lines that fit a page."""
    settings = {"terminal_width": 90, "max_content_width": 90} | dict(command.context_settings)
    return click.Context(command, parent=parent, info_name=name, **settings)


def _help_of(context: click.Context) -> Iterator[str]:
    command = context.command
    if not isinstance(command, click.Group) or isinstance(command, GroupedCommands):
        text = "\n".join(map(str.rstrip, command.get_help(context).splitlines()))
        yield from ["", f"## {context.command_path}", "", "```text", text, "```"]
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            child = each.load() if isinstance(each, LazyCommand) else each
            yield from _help_of(_context(child, name, context))


def message_flow() -> Iterator[str]:
    """Yield the diagram of what handles what, and what follows from it."""
    yield from ["```mermaid", "flowchart LR"]
    for command, handler in HANDLERS.commands.items():
        yield f"    {command.__name__}[/{command.__name__}/] --> {handler_name(handler)}"
    for event in HANDLERS.events:
        for name, arrow in _subscribed(event):
            yield f"    {event.__name__}([{event.__name__}]) {arrow} {name}"
    for name, events in RECORDS.items():
        yield f"    {name} --> {' & '.join(events)}"
    for name, handler in _all_handlers().items():
        yield from _what_it_does(name, handler)
    yield f"    {PUBLISHES} -.-> others{{{{other services}}}}"
    yield from ["    classDef once stroke-width:3px", "```"]


def _what_it_does(name: str, handler: Handler) -> Iterator[str]:
    if "uow" in _asked(handler):
        yield f"    class {name} once"
    for outside in _effects(handler):
        yield f"    {name} -.-> {outside.replace('-', '_')}{{{{{outside}}}}}"
    if returned := _returned(handler):
        yield f"    {name} -. reply .-> {returned}"


def handlers() -> Iterator[str]:
    """Yield a row for each handler: what it asks for, and what is guaranteed for it."""
    yield from [
        "| handler | of | asks for | so its effect happens | causes |",
        "|---|" + "---|" * 4,
    ]
    for name, handler in _all_handlers().items():
        asked = _asked(handler)
        once = "exactly once" if "uow" in asked else "at least once, with one idempotency key"
        of = [e for e in HANDLERS.events if name in dict(_subscribed(e))] or [
            c for c, h in HANDLERS.commands.items() if h is handler
        ]
        causes = [*(f"`{event}`" for event in RECORDS.get(name, ())), *_effects(handler)]
        causes += [f"`{_returned(handler)}`"] * bool(_returned(handler))
        yield (
            f"| `{name}` | {_names(of)} | {', '.join(f'`{port}`' for port in asked)} | {once} |"
            f" {', '.join(causes) or '–'} |"
        )


def _names(messages: list[type]) -> str:
    return ", ".join(f"`{message.__name__}`" for message in messages)


def _all_handlers() -> dict[str, Handler]:
    of_commands = {handler_name(handler): handler for handler in HANDLERS.commands.values()}
    return {**of_commands, **HANDLERS.by_name()}


def _subscribed(event: type[Event]) -> Iterator[tuple[str, str]]:
    for each in HANDLERS.events[event]:
        if handler_of(each) is PUBLISH:
            yield PUBLISHES, "-->"
        else:
            yield (
                handler_name(handler_of(each)),
                "-- later -->" if isinstance(each, Later) else "-->",
            )


def _asked(handler: Handler) -> list[str]:
    return list(signature(handler).parameters)[1:]


def _effects(handler: Handler) -> list[str]:
    return [SENDS[port] for port in _asked(handler) if port in SENDS]


def _returned(handler: Handler) -> str:
    """Return the command with which a handler stores the reply of an external system."""
    returned = get_type_hints(handler)["return"]
    kinds = [kind for kind in getattr(returned, "__args__", ()) if kind is not type(None)]
    return kinds[0].__name__ if kinds else ""
