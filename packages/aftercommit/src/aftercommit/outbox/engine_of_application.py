"""The engine that an application gives to its outbox, and what the worker takes from it.

An asynchronous engine whose driver works on this event loop is the model of the worker's own: see
`own_pool.py`. From any other engine, such as a synchronous one, the worker takes the URL, the
execution options, the JSON serializers, and the listeners to transactions and statements. Anything
else that the engine has for its connections is refused, because another driver cannot use it.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from threading import get_ident
from typing import Any

from sqlalchemy import URL, Engine, event
from sqlalchemy.engine.events import ConnectionEvents, DialectEvents
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.pool.events import PoolEvents

from aftercommit.database.backend import DatabaseBackend, GivenEngine
from aftercommit.database.database import usable_drivers
from aftercommit.database.database_url import DEFAULT_PORT, PLACES, parse_url, shown
from aftercommit.errors import InvalidValue, WiringError
from aftercommit.outbox.in_application_context import NewContext
from aftercommit.outbox.own_pool import (
    copy_listeners,
    listeners_of,
    name_of,
    own_options,
    with_own_pool,
)

EngineOrUrl = AsyncEngine | Engine | URL | str
EngineSource = EngineOrUrl | Callable[[], EngineOrUrl]

WHAT = "the engine of the outbox"
KINDS = "an AsyncEngine, an Engine, a URL, or a function that returns one"
INSTEAD = "; give the outbox an AsyncEngine of that driver, or a function that returns one"
NOT_THEIRS = ("sqlalchemy.", "aftercommit.", "opentelemetry.")
"""Listeners of these packages set up nothing that an application relies on."""


def find_engine(source: EngineSource, context: NewContext = nullcontext) -> Any:
    """Return the given engine, in its current state, or the text of a URL.

    :raises InvalidValue: if it is given as a function that raises, or returns something else
    :raises WiringError: if it is something else
    """
    if not callable(source):
        return _engine_or_text(source, WiringError)
    try:
        made = context()  # one that is asynchronous, nobody can enter here
        with made if isinstance(made, AbstractContextManager) else nullcontext():
            found = source()
    except Exception as error:
        raised = f"could not be found: its function raised {type(error).__name__}: {error}"
        advice = "if it needs the context of an application, give the outbox a `context`, such as"
        raise InvalidValue(WHAT, f"{raised}; {advice} context=app.app_context") from error
    return _engine_or_text(found, InvalidValue)


def _engine_or_text(given: object, error: Callable[[str, str], Exception]) -> Any:
    if isinstance(given, AsyncEngine):
        return given.sync_engine
    if isinstance(given, URL):
        return given.render_as_string(hide_password=False)
    if not isinstance(given, Engine | str):  # its text may be a URL, with a password
        hint = f"is {KINDS}; use str(…) for another kind of URL than"
        raise error(f"{WHAT} {hint}", type(given).__name__)
    return given


def url_of(engine: Engine) -> URL:
    """Return where an engine connects, in the form that all URLs have here."""
    return parse_url(engine.url.render_as_string(hide_password=False))


def ensure_same_place(engine: Engine, url: str, named: str) -> None:
    """Refuse a URL that would be ignored, because there is an engine.

    :raises InvalidValue: if it names another database than the engine
    """
    ours, theirs = parse_url(url), url_of(engine)
    if (place_of(ours), _address(ours)) != (place_of(theirs), _address(theirs)):
        both = f"{shown(ours)} and not {shown(theirs)}"
        problem = f"names another database than {WHAT}, {both}"
        raise InvalidValue(named, f"{problem}; leave it out, or give the outbox a URL")


def place_of(url: URL) -> tuple[str, str]:
    """Return the kind and the name of a database; a server may have many addresses."""
    kind, name = url.get_backend_name(), url.database or ""
    if kind == "sqlite" and (name in ("", ":memory:") or "memory" in url.query.values()):
        return kind, ":memory:"  # of a test, which delivers in the same session
    return kind, os.path.realpath(name.removeprefix("file:")) if kind == "sqlite" else name


def _address(url: URL) -> tuple[str, str]:
    host = url.host or url.query.get("host") or "localhost"
    return str(host), str(url.port or url.query.get("port") or DEFAULT_PORT)


def given_engine(
    engine: Engine, url: URL, backend: type[DatabaseBackend]
) -> tuple[URL, GivenEngine]:
    """Return what the worker takes from an engine, and the URL for its own.

    :raises InvalidValue: if it has something that another driver could not use
    """
    theirs = f"{engine.dialect.name}+{engine.dialect.driver}"
    _, dialects = usable_drivers(backend)
    beside = f", besides {_most(engine)} of the application's own engine"
    if engine.dialect.is_async and engine.dialect.driver in dialects.values():
        if past := [each for each in _only_theirs(engine) if "do_execute" in each]:
            problem = f"has {past[0]}, which can execute statements that a handler must not execute"
            raise InvalidValue(WHAT, f"{problem}; give the outbox an engine without it")
        driver = f", over {theirs}, as the application does"
        return url.set(drivername=theirs), GivenEngine(
            create=partial(with_own_pool, engine), connects=True, driver=driver, beside=beside
        )
    dialect = dialects.get(engine.dialect.driver) or next(iter(dialects.values()))
    wanted = f"{url.get_backend_name()}+{dialect}"
    used = f"{wanted} (of the extra {backend.asyncio_drivers[dialect]})"
    synchronous = "" if engine.dialect.is_async else "synchronous "
    problem = f"uses {synchronous}{theirs}; the worker uses {used}"
    if refused := [*_only_theirs(engine)]:
        raise InvalidValue(WHAT, f"{problem}, which cannot use {', '.join(refused)}{INSTEAD}")
    url = url.set(drivername=wanted)
    for argument, value in _connect_args(engine).items():
        if argument in backend.ignored_arguments:
            continue
        if argument not in backend.url_options or not isinstance(value, str | int | float):
            raise InvalidValue(WHAT, f"{problem}, whose connect_args have no {argument}{INSTEAD}")
        if argument in PLACES:
            place: Any = {PLACES[argument]: str(value)}
            url = url.set(**place)
        else:
            url = url.update_query_dict({argument: str(value)})
    over = f", over {used}; the application has {theirs}"
    return url, GivenEngine(create=partial(_create, engine), driver=over, beside=beside)


def _create(theirs: Engine, url: URL, **options: Any) -> AsyncEngine:
    """Return an engine for another driver, with everything of theirs that it can use."""
    dialect: Any = theirs.dialect
    options |= {
        "execution_options": own_options(theirs),
        "json_serializer": dialect._json_serializer,  # there is no public name for them
        "json_deserializer": dialect._json_deserializer,
    }
    ours = create_async_engine(url, **options)
    copy_listeners(theirs, ours.sync_engine, ConnectionEvents)
    for name, function in listeners_of(dialect, DialectEvents, but_of=ours.dialect):
        if name == "handle_error":
            event.listen(ours.sync_engine, name, function)
    return ours


def _most(engine: Engine) -> str:
    """Return how many connections an engine makes. The overflow has no public name."""
    size, overflow = getattr(engine.pool, "size", None), getattr(engine.pool, "_max_overflow", -1)
    return f"up to {size() + overflow}" if size and overflow >= 0 else "those"


def _only_theirs(engine: Engine) -> Iterator[str]:
    """Yield what an engine has for its connections that another driver cannot use."""
    # there is no public name
    if not name_of(engine.pool._creator).startswith("sqlalchemy.engine.create."):
        yield f"a creator ({name_of(engine.pool._creator)})"
    of_pool = listeners_of(engine.pool, PoolEvents, but_of=NullPool(engine.raw_connection))
    dialect: Any = engine.dialect
    of_dialect = listeners_of(dialect, DialectEvents, but_of=type(dialect)())
    listening = *of_pool, *of_dialect
    for name, function in listening:
        if name != "handle_error" and not name_of(function).startswith(NOT_THEIRS):
            yield f"a listener to {name} ({name_of(function)})"


def _connect_args(engine: Engine) -> dict[str, Any]:
    """Return the arguments of an engine's connections that are not in its URL."""
    this_thread, arguments = get_ident(), dict[str, Any]()

    def find(dialect: object, record: object, args: object, found: Mapping[str, Any]) -> None:
        if get_ident() == this_thread:  # and not for one that serves a request
            arguments.update(found)
            raise LookupError("found, so that nothing is connected")

    event.listen(engine, "do_connect", find)
    try:
        with suppress(LookupError):
            engine.pool.recreate().connect()
    finally:
        event.remove(engine, "do_connect", find)
    _, of_url = engine.dialect.create_connect_args(engine.url)
    return {name: each for name, each in arguments.items() if of_url.get(name) != each}
