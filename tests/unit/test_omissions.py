"""What a use case still lacks is named in a sentence: the file to change, or the command to run."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, make_dataclass, replace
from inspect import signature, unwrap
from itertools import chain
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

import click
from aftercommit import History, message_types
from aftercommit.process.cli.main import LazyCommand
from fastapi.routing import APIRoute
from sqlalchemy import Column, MetaData, String, Table, inspect
from sqlalchemy.orm import Mapper

from allocation.adapters.migrations import HISTORY
from allocation.adapters.orm import _mapping, start_mappers, user_view
from allocation.domain import commands, events
from allocation.domain.aggregate import Aggregate
from allocation.domain.commands import Command, RecordBounce
from allocation.domain.coupons import CouponCode
from allocation.domain.events import CouponDenied, EmailChanged, Event
from allocation.entrypoints.cli import cli
from allocation.entrypoints.http import routes
from allocation.extension_list import EXTENSIONS
from allocation.messages import ACCEPTED_FROM_BROKERS
from allocation.service_layer.handlers import HANDLERS as TABLE
from allocation.service_layer.handlers import refresh_user_view
from allocation.service_layer.read_model_types import UserRow
from allocation.service_layer.unit_of_work import EventOfMany
from allocation.user_import.model import ImportUsers
from tests.making import a_coupon, a_coupon_batch, a_user
from tools.migration import differences

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SOURCE = "src/allocation"
RETURNED = {RecordBounce}  # by handlers, and offered to nobody
COMMANDS, EVENTS = message_types(commands, Command), message_types(events, Event)
OFFERED = [each for each in COMMANDS if each not in RETURNED]
NOT_LISTED: list[type[Event]] = [CouponDenied]  # it names a user; the list shows nothing of it
NOT_STORED: list[type[Aggregate]] = [EventOfMany]  # it stands for others, which are
SECRET = "code"  # of a coupon: it is money


def stored() -> list[object]:
    """Return one of each aggregate that is stored, and of each of their parts."""
    return [a_user(), a_coupon_batch(), a_coupon()]


def events_without_entry(handled: Collection[type[Event]]) -> list[str]:
    return [
        f"{event.__name__} has no row in HANDLERS of {SOURCE}/service_layer/handlers.py:"
        " add one, `on(Event)` if nobody handles it"
        for event in EVENTS
        if event not in handled
    ]


def events_the_user_list_misses(handlers: Mapping[type[Event], Sequence[Any]]) -> list[str]:
    return [
        f"{event.__name__} has a user_id, and refresh_user_view is not among its handlers in"
        f" HANDLERS of {SOURCE}/service_layer/handlers.py: add it, or write the event into"
        " NOT_LISTED of tests/unit/test_omissions.py, if the list of users shows nothing of it"
        for event, listed in handlers.items()
        if event in EVENTS and event not in NOT_LISTED
        if "user_id" in {field.name for field in fields(event)}  # type: ignore[arg-type]
        if refresh_user_view not in listed
    ]


def commands_without_handler(handled: Collection[type[Command]]) -> list[str]:
    return [
        f"{command.__name__} has no handler: write one, and its line in HANDLERS of"
        f" {SOURCE}/service_layer/handlers.py"
        for command in COMMANDS
        if command not in handled
    ]


def commands_nobody_can_give(command_line: Iterable[click.Command]) -> list[str]:
    given = {reached for command in command_line for reached in reached_by(command)}
    return [
        f"{command.__name__} cannot be given on the command line: write a function in"
        f" {SOURCE}/entrypoints/users.py, and its line in {SOURCE}/entrypoints/allocation.py"
        for command in OFFERED
        if command not in {ImportUsers, *given}  # its rows are read from a file
    ]


def attributes_without_column(aggregates: Iterable[object]) -> list[str]:
    return [
        f"{type(aggregate).__name__}.{name} has no column: add one to its table in"
        f" {SOURCE}/adapters/orm.py"
        for aggregate in aggregates
        for name in vars(aggregate)
        if name not in {"recorded_events", "_sa_instance_state", *_columns_of(type(aggregate))}
    ]


def columns_never_filled(aggregates: Iterable[object]) -> list[str]:
    return [
        f"{type(aggregate).__name__} never fills its column {name}: set it in __init__, or remove"
        f" it from {SOURCE}/adapters/orm.py"
        for aggregate in aggregates
        for name in _columns_of(type(aggregate))
        # the reference of a part to its aggregate, and the key of an address, come with the commit
        if name not in {"email_key", *_set_by_others(type(aggregate)), *vars(aggregate)}
    ]


def never_looked_at(types: Iterable[type]) -> list[str]:
    looked_at = {*NOT_STORED, *map(type, stored())}
    return [
        f"{type_.__name__} has no line in stored() of tests/unit/test_omissions.py: add one, or its"
        " attributes without a column would be forgotten"
        for type_ in types
        if type_ not in looked_at
    ]


def secrets_told(messages: Iterable[Any]) -> list[str]:
    return [
        f"{message.__name__} begins with a coupon's code, and its first field is printed: let"
        " another field be the first"
        for message in messages
        if [field.name for field in fields(message)][:1] == [SECRET]
    ] + [
        f"{message.__name__}.{SECRET} is in its repr: write field(repr=False)"
        for message in messages
        for field in fields(message)
        if field.name == SECRET and field.repr
    ]


def labels_with_a_secret(aggregates: Iterable[type[Aggregate]]) -> list[str]:
    return [
        f"{aggregate.__name__}.key is a coupon's code, and labels its events: give it a subject"
        for aggregate in aggregates
        if signature(vars(aggregate)["key"].fget, eval_str=True).return_annotation is CouponCode
        if "subject" not in vars(aggregate)
    ]


def fields_without_column(row: "type[DataclassInstance]", table: Table) -> list[str]:
    return [
        f"{row.__name__}.{field.name} has no column: add one to {table.name} in"
        f" {SOURCE}/adapters/orm.py"
        for field in fields(row)
        if field.name not in table.c
    ]


def tables_without_migration(history: History) -> list[str]:
    return [
        f"{difference} is in the tables or in the migrations of {history.name}, and not in both:"
        f' run make migration OF={history.name} NAME="…"'
        for difference in differences(history)
    ]


def test_every_event_is_in_the_table_of_handlers() -> None:
    """Or it could be recorded, and nobody would ever hear of it."""
    assert events_without_entry(TABLE.events) == []

    missing, *others = TABLE.events
    [sentence] = events_without_entry(others)
    assert sentence.startswith(f"{missing.__name__} has no row in HANDLERS of {SOURCE}/serv")


def test_what_changes_a_user_or_a_coupon_refreshes_the_list() -> None:
    """Or `users` would show for ever what was true before."""
    assert events_the_user_list_misses(TABLE.events) == []

    [sentence] = events_the_user_list_misses({EmailChanged: [], CouponDenied: []})
    assert sentence.startswith("EmailChanged has a user_id, and refresh_user_view is not among its")


def test_every_command_has_a_handler() -> None:
    """Nobody else would notice before the first user tries."""
    assert commands_without_handler(TABLE.commands) == []

    missing, *others = TABLE.commands
    [sentence] = commands_without_handler(others)
    assert sentence.startswith(f"{missing.__name__} has no handler: write one, and its line in")


def test_every_command_can_be_given_on_the_command_line() -> None:
    """Or only those with a message broker could use it."""
    assert commands_nobody_can_give(cli.commands.values()) == []

    missing, *_ = OFFERED
    others = [each for each in cli.commands.values() if missing not in reached_by(each)]
    [sentence] = commands_nobody_can_give(others)
    assert sentence.startswith(f"{missing.__name__} cannot be given on the command line: write a f")


def test_commands_that_only_handlers_return_are_offered_nowhere() -> None:
    """Anybody could mark the address of somebody else as undeliverable."""
    given = {reached for command in cli.commands.values() for reached in reached_by(command)}
    over_http = {type_ for each in endpoints() for type_ in reached_from(each)}

    assert RETURNED.isdisjoint({*given, *over_http, *ACCEPTED_FROM_BROKERS})


def test_every_offered_command_can_be_given_over_http() -> None:
    """Not an import: it has many rows, and needs a long time."""
    reached = {type_ for each in endpoints() for type_ in reached_from(each)}

    assert reached & {*COMMANDS} == {*OFFERED} - {ImportUsers}


def test_every_attribute_of_an_aggregate_has_a_column() -> None:
    """Or it would be forgotten with the commit."""
    assert attributes_without_column(stored()) == []

    vars(user := a_user())["colour"] = "red"
    [sentence] = attributes_without_column([user])
    assert sentence.startswith("User.colour has no column: add one to its table in src/")


def test_every_column_of_an_aggregate_is_filled() -> None:
    """Or it would hold its default for ever."""
    assert columns_never_filled(stored()) == []

    del vars(user := a_user())["name"]
    [sentence] = columns_never_filled([user])
    assert sentence.startswith("User never fills its column name: set it in __init__, or remove it")


def test_every_aggregate_and_every_part_of_one_is_looked_at() -> None:
    """A developer who adds one, and forgets a column, has forgotten this list, too."""
    assert never_looked_at([*ours(), *mapped()]) == []

    [sentence] = never_looked_at([Aggregate])
    assert sentence.startswith("Aggregate has no line in stored() of tests/unit/test_omissions.py")


def test_no_line_and_no_label_shows_the_code_of_a_coupon() -> None:
    """Lines go to journals, and labels to other services."""
    assert secrets_told((*COMMANDS, *EVENTS)) == []
    assert labels_with_a_secret(ours()) == []

    class Voucher(Aggregate):
        @property
        def key(self) -> CouponCode:
            return CouponCode("WELCOME-1")

    assert labels_with_a_secret([Voucher])[0].startswith("Voucher.key is a coupon's code")
    [first, second] = secrets_told([make_dataclass("SellCoupon", ["code", "user_id"])])
    assert first.startswith("SellCoupon begins with a coupon's code")
    assert second.startswith("SellCoupon.code is in its repr")


def test_every_field_of_a_row_of_the_view_has_a_column() -> None:
    """Or nobody could be listed."""
    assert fields_without_column(UserRow, user_view) == []

    [*_, sentence] = fields_without_column(EmailChanged, user_view)
    assert sentence.startswith("EmailChanged.new_email has no column: add one to user_view in src/")


def test_every_table_has_its_migrations() -> None:
    """Or it would be found by the first database; both kinds are tried by the integration tests."""
    assert tables_without_migration(HISTORY) == []

    [sentence] = tables_without_migration(with_a_column_more())
    assert "'users'" in sentence
    assert sentence.endswith('run make migration OF=allocation NAME="…"')


def ours() -> list[type[Aggregate]]:
    """Return the aggregates of the application, without those of tests."""
    return [
        type_ for type_ in Aggregate.__subclasses__() if type_.__module__.startswith("allocation.")
    ]


def mapped() -> Iterator[type]:
    """Yield the classes that have a table."""
    start_mappers()
    return (mapper.class_ for mapper in _mapping.mappers)


def with_a_column_more() -> History:
    tables = MetaData(naming_convention=HISTORY.metadata.naming_convention)
    for table in HISTORY.metadata.tables.values():
        table.to_metadata(tables)
    tables.tables["users"].append_column(Column("colour", String))
    return replace(HISTORY, metadata=tables)


def endpoints() -> Iterator[object]:
    """Yield the functions that answer over HTTP, also those that an extension brings."""
    brought = (each.operator_routes() for each in EXTENSIONS)
    for router in (routes.public, routes.guarded, *filter(None, brought)):
        yield from (route.endpoint for route in router.routes if isinstance(route, APIRoute))


def reached_by(command: click.Command) -> Iterator[type]:
    """Yield the classes that a command of the command line names, itself or in its functions."""
    if isinstance(command, LazyCommand):
        command = command.load()
    if isinstance(command, click.Group):
        for child in command.commands.values():
            yield from reached_by(child)
    yield from reached_from(command.callback)


def reached_from(function: object) -> Iterator[type]:
    """Yield the classes that a function names, itself or in the functions it calls."""
    yield from _reached_from(function, set())


def _reached_from(value: object, seen: set[object]) -> Iterator[type]:
    function = unwrap(value) if callable(value) else value
    if isinstance(value, type):
        yield value
    elif isinstance(function, FunctionType) and function not in seen:
        seen.add(function)
        is_ours = function.__module__.startswith("allocation.")
        for name in _names(function.__code__) if is_ours else ():
            yield from _reached_from(function.__globals__.get(name), seen)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):  # a function in the function
            yield from _names(constant)


def _columns_of(aggregate: type) -> Collection[str]:
    start_mappers()
    return inspect(aggregate).attrs.keys()


def _set_by_others(part: type) -> Iterator[str]:
    mapper: Mapper[Any] = inspect(part)
    for relationship in chain.from_iterable(each.relationships for each in mapper.registry.mappers):
        if relationship.mapper is mapper:
            yield from (str(column.key) for column in relationship.remote_side)
