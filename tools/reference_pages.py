"""Makes parts of the documentation from the code, so that nothing is written twice or outdated.

`generated.py` writes them: which test checks which guarantee, the commands, and the message flow.
What the code does not show, such as which event a handler records, is listed here.
"""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageMetadata, metadata
from inspect import signature
from typing import Any, get_type_hints
from uuid import UUID

import click
from aftercommit import PUBLISH, Later, Ordered
from aftercommit.cli.command_group import GroupedCommands, LazyCommand
from aftercommit.extensions.brokers.base import DELIVERY_LIMIT
from aftercommit.extensions.brokers.cloud_events import MAX_BYTES, MAX_MESSAGE_BYTES
from aftercommit.handler_entries import handler_name, handler_of

from allocation.bootstrap import CODEC
from allocation.domain.coupons import MAX_QUANTITY
from allocation.domain.events import Event
from allocation.domain.values import EmailAddress, PersonName
from allocation.entrypoints.app import cli
from allocation.entrypoints.broker_messages import ACCEPTED_FROM_BROKERS
from allocation.service_layer.handlers import HANDLERS
from tools.floors import pinned, required
from tools.repository import ROOT
from tools.requirements import FILE as REQUIREMENTS

_READ: dict[str, Any] = tomllib.loads((ROOT / "checks" / "proofs.toml").read_text())
NOT_IN_MAKE_TEST: dict[str, str] = _READ.pop("not in make test")
"""Why `make test` proves a promise by none of its tests."""
PROOFS: Mapping[str, list[str]] = _READ
PROMISING = (
    "packages/aftercommit/docs/guarantees.md",
    *(f"docs/{name}.md" for name in ("guarantees", "extensions/README", "extensions/brokers")),
    *(f"docs/extensions/{name}.md" for name in ("http", "inspecting")),
)
"""Pages on which each heading of the third level is a promise."""
RECORDS = {
    "register_user": ["UserRegistered"],
    "import_users": ["UserRegistered"],
    "change_email": ["EmailChanged"],
    "record_bounce": ["EmailBounced"],
    "redeem_coupon": ["CouponRedeemed"],
    "allocate_welcome_coupon": ["CouponAllocated", "CouponDenied", "CouponBatchExhausted"],
    "expire_coupon": ["CouponExpired"],
}
"""The events that each handler records, through its aggregates."""
RULES = {
    "user_id": "made by you, at random, once for each user; a repetition is recognized by it",
    "name": f"1 to {PersonName.longest} characters in one line, in any script, with a letter or"
    " digit",
    "email": f"of the form name@example.com, at most {EmailAddress.longest} characters; no other"
    " user has it, in whichever case it is written",
    "new_email": "as `email`",
    "reference": "1 to 40 of A-Z, a-z, 0-9, - and _, with no - or _ first",
    "quantity": f"1 to {MAX_QUANTITY:,}",
}
"""The rules of the value objects for fields that other services send."""
SENDS_EMAIL = {"notifications"}
PUBLISHES = "publish_event"


def promises() -> dict[str, str]:
    """Return the title of each guarantee, and the page that describes it, from the root."""
    return {
        title: page
        for page in PROMISING
        for title in re.findall(r"^### (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    }


def promise_tests() -> Iterator[str]:
    """Yield each guarantee with a link to it, and its tests."""
    for title, page in promises().items():
        link = f"[The promise and its limits](../../{page}#{as_anchor(title)})"
        yield from ["", f"### {title}", "", link, ""]
        for proof in PROOFS.get(title, ()):
            file, _, name = proof.partition("::")
            yield f"- [{file.rpartition('/')[2]}](../../{file}): `{name}`"
        if title in NOT_IN_MAKE_TEST:
            yield from ["", f"Not in `make test`, since {NOT_IN_MAKE_TEST[title]}."]


def as_anchor(title: str) -> str:
    """Return a heading in the form that GitHub uses in links."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def command_line() -> Iterator[str]:
    """Yield the help of each command, as `--help` prints it."""
    yield from _help_of(_context(cli, "allocation"))


def _context(
    command: click.Command, name: str, parent: click.Context | None = None
) -> click.Context:
    """Return the context of a call, with lines that fit a page."""
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
    """Yield the diagram of messages, their handlers, and what follows."""
    of_commands = {handler_name(handler): handler for handler in HANDLERS.commands.values()}
    yield from ["```mermaid", "flowchart LR"]
    for command, handler in HANDLERS.commands.items():
        yield f"    {command.__name__}[/{command.__name__}/] --> {handler_name(handler)}"
    for event in HANDLERS.events:
        for name, arrow in _subscribed(event):
            yield f"    {event.__name__}([{event.__name__}]) {arrow} {name}"
    for name, events in RECORDS.items():
        yield f"    {name} --> {' & '.join(events)}"
    for name, each in {**of_commands, **HANDLERS.by_name()}.items():
        yield from _what_it_does(name, each)
    yield f"    {PUBLISHES} -.-> others{{{{other services}}}}"
    yield from ["    classDef once stroke-width:3px", "```"]


def _subscribed(event: type[Event]) -> Iterator[tuple[str, str]]:
    for each in HANDLERS.events[event]:
        handler, arrow = handler_of(each), "-- later -->" if isinstance(each, Later) else "-->"
        yield PUBLISHES if handler is PUBLISH else handler_name(handler), arrow


def _what_it_does(name: str, handler: Callable[..., Any]) -> Iterator[str]:
    asked = signature(handler).parameters.keys()
    if "uow" in asked:
        yield f"    class {name} once"
    if asked & SENDS_EMAIL:
        yield f"    {name} -.-> e_mail{{{{e-mail}}}}"
    returned = get_type_hints(handler)["return"]  # the command that stores an external reply
    for reply in set(getattr(returned, "__args__", ())) - {type(None)}:
        yield f"    {name} -. reply .-> {reply.__name__}"


def published_events() -> Iterator[str]:
    """Yield a table of the public events, as other services see them."""
    yield "| `type` | `schemaversion` | in order by `partitionkey` | fields of `data` |"
    yield "|---|---|---|---|"
    for event in HANDLERS.public_events:
        name = CODEC.name_of(event)
        in_order = any(isinstance(each, Ordered) for each in HANDLERS.events[event])
        order = "yes" if in_order else "no"
        yield f"| `{name}` | {CODEC.version_of(name)} | {order} | {_fields_of(event)} |"


def accepted_commands() -> Iterator[str]:
    """Yield a table of the commands that other services may send, and the rules of their fields."""
    yield "| `type` | `schemaversion` | fields of `data` | what it does |"
    yield "|---|---|---|---|"
    accepted = ACCEPTED_FROM_BROKERS
    for command in accepted:
        name, what = CODEC.name_of(command), str(command.__doc__).partition("\n")[0]
        yield f"| `{name}` | {CODEC.version_of(name)} | {_fields_of(command)} | {what} |"
    yield from ["", "| field | rule |", "|---|---|"]
    for field in dict.fromkeys(name for each in accepted for name in get_type_hints(each)):
        yield f"| `{field}` | {RULES[field]} |"


def message_limits() -> Iterator[str]:
    """Yield a table of how large a message may be."""
    yield "| | limit |"
    yield "|---|---|"
    yield f"| a message with a command | {MAX_MESSAGE_BYTES:,} bytes in all |"
    yield f"| its `id`, its `source` | {MAX_BYTES} bytes of UTF-8 each, no invisible characters |"
    yield f"| deliveries of RabbitMQ until a message is a dead letter | {DELIVERY_LIMIT} |"


def _fields_of(message: type[Any]) -> str:
    hints = get_type_hints(message)
    return ", ".join(f"`{name}`: {_form_of(each)}" for name, each in hints.items())


def _form_of(hint: Any) -> str:
    plain = getattr(hint, "__supertype__", hint)  # of NewType
    return {UUID: "UUID", str: "text", int: "integer"}[plain]


def requirements() -> Iterator[str]:
    """Yield a table of what our packages need, and in which versions."""
    needed: dict[tuple[str, str], list[str]] = {}
    for who, name, accepted, _ in required():
        needed.setdefault((name, accepted), []).append(f"`{who}`")
    yield "| package | accepted | newest tried | needed by |"
    yield "|---|---|---|---|"
    for (name, accepted), by in sorted(needed.items()):
        yield f"| {name} | `{accepted}` | {pinned()[name]} | {', '.join(by)} |"


def licences() -> Iterator[str]:
    """Yield a table of the licences of the image's packages, as these name them."""
    by_licence: dict[str, list[str]] = {}
    on_linux = r"^([\w.-]+)==\S+ (?!; sys_platform == 'win32')"
    for name in re.findall(on_linux, REQUIREMENTS.read_text(), re.MULTILINE):
        by_licence.setdefault(_licence(metadata(name)), []).append(name)
    yield "| licence | packages |"
    yield "|---|---|"
    for licence, names in sorted(by_licence.items()):
        yield f"| {licence} | {', '.join(names)} |"


def _licence(distribution: PackageMetadata) -> str:
    """Return a distribution's licence, given in one of three ways, the newest first."""
    said = [
        *(distribution.get_all("License-Expression") or ()),
        *(distribution.get_all("License") or ()),
    ]
    classifiers = [
        each for each in distribution.get_all("Classifier") or () if "License ::" in each
    ]
    short = [each for each in said if "\n" not in each]
    return str([*short, *(each.rpartition(" :: ")[2] for each in classifiers)][0])
