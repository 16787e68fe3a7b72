"""What a use case still lacks is named in a sentence: the file to change, or the command to run."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import fields
from importlib import import_module
from inspect import isfunction
from itertools import chain
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, get_type_hints

import click
from aftercommit import message_types
from sqlalchemy import inspect
from sqlalchemy.orm import Mapper

from allocation import entrypoints
from allocation.adapters.orm import mapping, start_mappers
from allocation.domain import commands, events
from allocation.domain.bases import Aggregate
from allocation.domain.commands import Command, ImportUsers, RecordBounce
from allocation.domain.events import CouponDenied, Event
from allocation.entrypoints import http
from allocation.entrypoints.app import cli
from allocation.entrypoints.broker_messages import ACCEPTED_FROM_BROKERS
from allocation.service_layer.handlers import HANDLERS as TABLE
from allocation.service_layer.handlers import refresh_user_view
from tests import builders
from tests.builders import a_user

SOURCE = "src/allocation"
COMMANDS, EVENTS = message_types(commands, Command), message_types(events, Event)
RETURNED = {RecordBounce}  # by handlers, and offered to nobody
OFFERED = [each for each in COMMANDS if each not in RETURNED]
NOT_LISTED: list[type[Event]] = [CouponDenied]  # it names a user; the list shows nothing of it
SECRET = "code"  # of a coupon: it is money


def stored() -> list[object]:
    """Return one of each aggregate that is stored, and of each of their parts, as built."""
    start_mappers()
    mapped = {mapper.class_ for mapper in mapping.mappers}
    makers = [each for each in vars(builders).values() if isfunction(each)]
    return [make() for make in makers if get_type_hints(make).get("return") in mapped]


def test_every_event_is_in_the_table_of_handlers() -> None:
    """Or it could be recorded, and nobody would ever hear of it."""
    assert [
        f"{event.__name__} has no row in HANDLERS of {SOURCE}/service_layer/handlers.py:"
        " add one, `on(Event)` if nobody handles it"
        for event in EVENTS
        if event not in TABLE.events
    ] == []


def test_what_changes_a_user_or_a_coupon_refreshes_the_list() -> None:
    """Or `users` would show forever what was true before."""
    assert [
        f"{event.__name__} has a user_id, and refresh_user_view is not among its handlers in"
        f" HANDLERS of {SOURCE}/service_layer/handlers.py: add it, or write the event into"
        " NOT_LISTED of checks/test_complete_use_cases.py, if the list of users shows nothing of it"
        for event in EVENTS
        if "user_id" in _fields(event)
        if event not in NOT_LISTED
        if refresh_user_view not in TABLE.events[event]
    ] == []


def test_every_command_has_a_handler() -> None:
    """Nobody else would notice before the first user tries."""
    assert [
        f"{command.__name__} has no handler: write one, and its line in HANDLERS of"
        f" {SOURCE}/service_layer/handlers.py"
        for command in COMMANDS
        if command not in TABLE.commands
    ] == []


def test_every_command_can_be_given_on_the_command_line() -> None:
    """Or only those with a message broker could use it."""
    assert [
        f"{command.__name__} cannot be given on the command line: write a function in"
        f" {SOURCE}/entrypoints/commands.py"
        for command in OFFERED
        if command not in classes_in(command_lines())
    ] == []
    assert [
        f"{name} is not listed: write its line in `commands` of {SOURCE}/entrypoints/app.py"
        for name in commands_in(command_lines()) - cli.commands.keys()
    ] == []


def test_every_offered_command_can_be_given_over_http() -> None:
    """Not an import: it has many rows, and needs a long time."""
    assert classes_in(modules_in(http)) & {*COMMANDS} == {*OFFERED} - {ImportUsers}


def test_commands_that_only_handlers_return_are_offered_nowhere() -> None:
    """Anybody could mark the address of somebody else as undeliverable."""
    assert RETURNED.isdisjoint(
        {*classes_in([*command_lines(), *modules_in(http)]), *ACCEPTED_FROM_BROKERS}
    )


def test_every_attribute_of_an_aggregate_has_a_column() -> None:
    """Or it would be forgotten with the commit."""
    assert attributes_without_column(stored()) == []

    vars(user := a_user())["colour"] = "red"
    assert attributes_without_column([user]) != []


def attributes_without_column(aggregates: list[object]) -> list[str]:
    return [
        f"{type(aggregate).__name__}.{name} has no column: add one to its table in"
        f" {SOURCE}/adapters/orm.py"
        for aggregate in aggregates
        for name in vars(aggregate)
        if name not in {"recorded_events", "_sa_instance_state", *_columns_of(type(aggregate))}
    ]


def test_every_column_of_an_aggregate_is_filled() -> None:
    """Or it would hold its default forever. The key of an address is set with the commit."""
    assert [
        f"{type(aggregate).__name__} never fills its column {name}: set it in __init__, or remove"
        f" it from {SOURCE}/adapters/orm.py"
        for aggregate in stored()
        for name in _columns_of(type(aggregate))
        if name not in {"email_key", *_set_by_others(type(aggregate)), *vars(aggregate)}
    ] == []


def test_every_aggregate_and_every_part_of_one_is_looked_at() -> None:
    """Or its attributes without a column would be forgotten."""
    looked_at = {*map(type, stored())}
    assert [
        f"{type_.__name__} has no builder in tests/builders.py: add a function that needs no"
        " arguments, and is annotated with what it returns"
        for type_ in (*_aggregates(), *(mapper.class_ for mapper in mapping.mappers))
        if type_ not in looked_at
    ] == []


def test_no_line_shows_the_code_of_a_coupon() -> None:
    """Lines begin with the first field of a message, and go to journals."""
    messages = (*COMMANDS, *EVENTS)
    assert [message for message in messages if _fields(message)[:1] == [SECRET]] == []
    assert [
        f"{message.__name__}.{SECRET} is in its repr: write field(repr=False)"
        for message in messages
        for field in fields(message)  # type: ignore[arg-type]
        if field.name == SECRET and field.repr
    ] == []


def classes_in(modules: Iterable[ModuleType]) -> set[type]:
    """Return the classes that modules import or define; none is imported that is not used."""
    return {each for module in modules for each in vars(module).values() if isinstance(each, type)}


def commands_in(modules: Iterable[ModuleType]) -> set[str | None]:
    """Return the names of the commands of the command line that modules have."""
    found = [each for module in modules for each in vars(module).values()]
    return {
        each.name
        for each in found
        if isinstance(each, click.Command) and not isinstance(each, click.Group)
    }


def command_lines() -> list[ModuleType]:
    """Return the modules with the use cases on the command line."""
    return [each for each in modules_in(entrypoints) if each.__name__.endswith("commands")]


def modules_in(package: ModuleType) -> list[ModuleType]:
    """Return the modules of a package: a new one need not be named here."""
    found = [name for _, name, is_package in iter_modules(package.__path__) if not is_package]
    return [import_module(f"{package.__name__}.{name}") for name in found]


def _aggregates() -> list[type[Aggregate]]:
    subclasses = Aggregate.__subclasses__()
    return [type_ for type_ in subclasses if type_.__module__.startswith("allocation.")]


def _fields(message: Any) -> list[str]:
    return [field.name for field in fields(message)]


def _columns_of(aggregate: type) -> Collection[str]:
    start_mappers()
    return inspect(aggregate).attrs.keys()


def _set_by_others(part: type) -> Iterator[str]:
    """Yield the columns by which a part refers to its aggregate."""
    mapper: Mapper[Any] = inspect(part)
    for relationship in chain.from_iterable(each.relationships for each in mapper.registry.mappers):
        if relationship.mapper is mapper:
            yield from (str(column.key) for column in relationship.remote_side)
