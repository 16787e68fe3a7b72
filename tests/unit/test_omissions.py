"""What a use case still lacks is named in a sentence: the file to mend, or the command to run."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from inspect import signature, unwrap
from pkgutil import resolve_name
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, get_args

import click
from sqlalchemy import Column, MetaData, String, Table, inspect

from allocation.adapters.orm import metadata, start_mappers, user_view
from allocation.domain import commands, events
from allocation.domain.commands import ChangeEmail, Command
from allocation.domain.events import EmailChanged, Event, OutOfCoupons
from allocation.domain.model import CouponBatch, User
from allocation.domain.values import BatchReference, Quantity
from allocation.entrypoints.cli import cli
from allocation.entrypoints.cli.main import COMMANDS, LazyCommand
from allocation.service_layer.handlers import (
    COMMAND_HANDLERS,
    EVENT_HANDLERS,
    publish_event,
    refresh_user_view,
)
from allocation.service_layer.wiring import Handler, types_in
from allocation.views import UserRow
from tests.builders import a_user
from tests.wiring_map import recorded_in
from tools.migration import differences

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SOURCE = "src/allocation"
NOT_LISTED: set[str] = set()  # events of users of which the list of users shows nothing


def events_without_entry(handled: Collection[type[Event]]) -> list[str]:
    return [
        f"{event.__name__} has no entry in EVENT_HANDLERS of {SOURCE}/service_layer/handlers.py:"
        " add one, with an empty list if nobody handles it"
        for event in types_in(events, Event)
        if event not in handled
    ]


def events_the_list_misses(handlers: Mapping[type[Event], Sequence[Handler]]) -> list[str]:
    recorded = set().union(*map(recorded_in, vars(User).values()))
    return [
        f"{event.__name__} changes a user, and refresh_user_view is not among its handlers in"
        f" EVENT_HANDLERS of {SOURCE}/service_layer/handlers.py: add it, or write the event into"
        " NOT_LISTED of tests/unit/test_omissions.py, if the list of users shows nothing of it"
        for event, listed in handlers.items()
        if event.__name__ in recorded - NOT_LISTED and refresh_user_view not in listed
    ]


def handlers_of_other_events(handlers: Mapping[type[Event], Sequence[Handler]]) -> list[str]:
    return [
        f"{handler.__name__} is a handler of {event.__name__}, and its signature does not say so:"
        f" add it to the type of its first parameter in {SOURCE}/service_layer/handlers.py"
        for event, listed in handlers.items()
        for handler in listed
        if not issubclass(event, _accepted(handler))
    ]


def _accepted(handler: Handler) -> tuple[type, ...]:
    first, *_ = signature(handler, eval_str=True).parameters.values()
    return get_args(first.annotation) or (first.annotation,)


def commands_without_handler(handled: Collection[type[Command]]) -> list[str]:
    return [
        f"{command.__name__} has no handler: write one, and its line in COMMAND_HANDLERS of"
        f" {SOURCE}/service_layer/handlers.py"
        for command in types_in(commands, Command)
        if command not in handled
    ]


def commands_nobody_can_give(command_line: Iterable[click.Command]) -> list[str]:
    given = {reached for command in command_line for reached in reached_by(command)}
    return [
        f"{command.__name__} cannot be given on the command line: write a function in"
        f" {SOURCE}/entrypoints/cli/users.py, and its line in COMMANDS of"
        f" {SOURCE}/entrypoints/cli/main.py"
        for command in types_in(commands, Command)
        if command not in given
    ]


def attributes_without_column(aggregates: Iterable[object]) -> list[str]:
    return [
        f"{type(aggregate).__name__}.{name} has no column: add one to its table in"
        f" {SOURCE}/adapters/orm.py"
        for aggregate in aggregates
        for name in vars(aggregate)
        if name not in {"recorded_events", "_sa_instance_state", *_columns_of(type(aggregate))}
    ]


def _columns_of(aggregate: type) -> Collection[str]:
    start_mappers()
    return inspect(aggregate).attrs.keys()


def fields_without_column(row: "type[DataclassInstance]", table: Table) -> list[str]:
    return [
        f"{row.__name__}.{field.name} has no column: add one to {table.name} in"
        f" {SOURCE}/adapters/orm.py"
        for field in fields(row)
        if field.name not in table.c
    ]


def tables_without_migration(tables: MetaData) -> list[str]:
    return [
        f"{difference} is in {SOURCE}/adapters/orm.py or in the migrations, and not in both:"
        ' run make migration NAME="…"'
        for difference in differences(tables)
    ]


def reached_by(command: click.Command) -> Iterator[type]:
    """Yield the classes that a command of the command line names, itself or in its functions."""
    if isinstance(command, LazyCommand):
        command = resolve_name(command.place)
    if isinstance(command, click.Group):
        for child in command.commands.values():
            yield from reached_by(child)
    yield from _reached_from(command.callback, set())


def _reached_from(value: object, seen: set[object]) -> Iterator[type]:
    function = unwrap(value) if callable(value) else value
    if isinstance(value, type):
        yield value
    elif isinstance(function, FunctionType) and function not in seen:
        seen.add(function)
        for name in _names(function.__code__) if _is_ours(function) else ():
            yield from _reached_from(function.__globals__.get(name), seen)


def _is_ours(function: FunctionType) -> bool:
    return function.__module__.startswith("allocation.")


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):  # a function in the function
            yield from _names(constant)


def with_a_column_more() -> MetaData:
    tables = MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.tables.values():
        table.to_metadata(tables)
    tables.tables["users"].append_column(Column("colour", String))
    return tables


def test_every_event_is_in_the_table_of_handlers() -> None:
    """Or it could be recorded, and nobody would ever hear of it."""
    assert events_without_entry(EVENT_HANDLERS) == []

    [sentence] = events_without_entry(EVENT_HANDLERS.keys() - {EmailChanged})
    assert sentence.startswith("EmailChanged has no entry in EVENT_HANDLERS of src/allocation/serv")


def test_what_changes_a_user_refreshes_the_list() -> None:
    """Or `users` would show for ever what was true before."""
    assert events_the_list_misses(EVENT_HANDLERS) == []

    [sentence] = events_the_list_misses({EmailChanged: [], OutOfCoupons: []})
    assert sentence.startswith(
        "EmailChanged changes a user, and refresh_user_view is not among its"
    )


def test_every_handler_says_what_it_handles() -> None:
    """The table and the signature are read side by side, and types are checked by the latter."""
    assert handlers_of_other_events(EVENT_HANDLERS) == []

    [sentence] = handlers_of_other_events({OutOfCoupons: [refresh_user_view, publish_event]})
    assert sentence.startswith("refresh_user_view is a handler of OutOfCoupons, and its signature ")


def test_every_command_has_a_handler() -> None:
    """Or the program would not start."""
    assert commands_without_handler(COMMAND_HANDLERS) == []

    [sentence] = commands_without_handler(COMMAND_HANDLERS.keys() - {ChangeEmail})
    assert sentence.startswith("ChangeEmail has no handler: write one, and its line in COMMAND_HAN")


def test_every_command_can_be_given_on_the_command_line() -> None:
    """Or only those with a message broker could use it."""
    assert commands_nobody_can_give(cli.commands.values()) == []

    others = [LazyCommand(place) for name, place in COMMANDS.items() if name != "change-email"]
    [sentence] = commands_nobody_can_give(others)
    assert sentence.startswith("ChangeEmail cannot be given on the command line: write a function ")


def test_every_attribute_of_an_aggregate_has_a_column() -> None:
    """Or it would be forgotten with the commit."""
    batch = CouponBatch.add(BatchReference("WELCOME"), Quantity(1))
    assert attributes_without_column([a_user(), batch]) == []

    vars(batch)["colour"] = "red"
    [sentence] = attributes_without_column([a_user(), batch])
    assert sentence.startswith("CouponBatch.colour has no column: add one to its table in src/allo")


def test_every_field_of_a_row_of_the_view_has_a_column() -> None:
    """Or nobody could be listed."""
    assert fields_without_column(UserRow, user_view) == []

    [*_, sentence] = fields_without_column(EmailChanged, user_view)
    assert sentence.startswith("EmailChanged.new_email has no column: add one to user_view in src/")


def test_every_table_has_its_migrations() -> None:
    """Or it would be found by the first database; both kinds are tried by the integration tests."""
    assert tables_without_migration(metadata) == []

    [sentence] = tables_without_migration(with_a_column_more())
    assert "'users'" in sentence
    assert sentence.endswith('run make migration NAME="…"')
