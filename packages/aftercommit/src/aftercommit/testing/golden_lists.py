"""Lists that a later version has to keep, in files that are committed: a line for each name."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, NoReturn

from aftercommit.process.app import App
from aftercommit.project.settings_file import differences

GONE = """{name} is gone, but there may be stored deliveries to it. If the handler was renamed:
    Handlers(…, renamed={{"{name}": "its new name"}})
If nobody needs it, keep it as Unsubscribed({name}) until no delivery for it is outstanding. Then
delete its line in {file}"""
OPEN = """{name} can be called by anybody now. If only the operator may, give the endpoint to the
router `guarded`; if anybody may, add the line to {file}"""
UPDATED = "{file} was brought up to date: look at it, and commit it"


def check_handler_names(app: App[Any], file: Path) -> None:
    """Compare the names of the handlers of events with a file that has a line for each.

    Stored deliveries name their handlers, so a name that is gone has to be in `renamed`. A new name
    is written into the file, which is made if it is not there.

    :raises AssertionError: if a name is gone, or the file was not up to date: commit it then

    >>> import pathlib
    >>> from aftercommit import testing
    >>> from shop.entrypoints.app import APP
    >>> testing.check_handler_names(APP, file := pathlib.Path("handler_names.txt"))
    Traceback (most recent call last):
    AssertionError: handler_names.txt was brought up to date: look at it, and commit it
    >>> testing.check_handler_names(APP, file)
    >>> file.read_text().splitlines()
    ['ask_for_feedback', 'confirm_order', 'count_cancellation', 'count_order']
    """
    table, known = app.handlers(), _lines_of(file)
    names = table.by_name().keys() | table.renamed.keys()
    if gone := sorted(known - names):
        raise AssertionError("\n".join(GONE.format(name=name, file=file) for name in gone))
    _write(file, known, names)


def check_settings(app: App[Any], file: Path) -> None:
    """Compare a file that lists all settings, such as `.env.example`, with the settings there are.

    :raises AssertionError: with the lines that it lacks, and the names that are no settings

    >>> import pathlib
    >>> from aftercommit import testing
    >>> from shop.entrypoints.app import APP
    >>> file = pathlib.Path(".env.example")
    >>> length = file.write_text("#SHOP_COLOUR=red")
    >>> testing.check_settings(APP, file)
    Traceback (most recent call last):
    AssertionError: .env.example lacks the line #SHOP_DISPATCH=inline ...
    """
    if found := differences(app, file):
        raise AssertionError("\n".join(found))


def check_public_routes(app: App[Any], file: Path) -> None:
    """Compare the endpoints that anybody may call with a file that has a line for each.

    These are the endpoints of the router `public`, and of the application's own `public_routes`. An
    endpoint that is no longer public is deleted from the file, which is created if missing.

    :raises AssertionError: if anybody may call an endpoint that is not in the file, or if the file
        was not up to date; then commit it

    >>> import pathlib
    >>> from aftercommit import testing
    >>> from shop.entrypoints.app import APP
    >>> file = pathlib.Path("public_routes.txt")
    >>> length = file.write_text("")
    >>> testing.check_public_routes(APP, file)
    Traceback (most recent call last):
    AssertionError: POST /orders can be called by anybody now. If only the operator may, give ...
    """
    known, routes = _lines_of(file), _public_routes(app)
    if file.exists() and (opened := sorted(routes - known)):
        raise AssertionError("\n".join(OPEN.format(name=name, file=file) for name in opened))
    _write(file, known, routes)


def _public_routes(app: App[Any]) -> set[str]:
    """Return the endpoints that anybody may call, such as "POST /orders"."""
    from fastapi import FastAPI
    from fastapi.routing import APIRoute

    from aftercommit.extensions.web import WebExtension

    own = [find() for parts in app.parts if parts.name == app.name for find in parts.public_routes]
    routers = [*(each.public for each in app.extension(WebExtension).import_routes()), *own]
    web, listed = FastAPI(), set[tuple[str, str]]()
    for router in routers:
        web.include_router(router)
        for route in router.routes:  # also one that the documentation does not show
            if isinstance(route, APIRoute):
                listed |= {(method, route.path) for method in route.methods or ()}
    documented = web.openapi()["paths"].items()  # also those of routers within routers
    listed |= {(method.upper(), path) for path, methods in documented for method in methods}
    return {" ".join(each) for each in listed}


def _lines_of(file: Path) -> set[str]:
    return {*file.read_text(encoding="utf-8").splitlines()} if file.exists() else set()


def _write(file: Path, known: Collection[str], names: Collection[str]) -> None:
    """Write what the file does not contain yet.

    :raises AssertionError: if something was written
    """
    if known != names or not file.exists():
        bring_up_to_date(file, "".join(f"{name}\n" for name in sorted(names)))


def bring_up_to_date(file: Path, text: str) -> NoReturn:
    """Write a file that is committed, and fail, so that somebody looks at what has changed.

    :raises AssertionError: always

    >>> import pathlib
    >>> from aftercommit.testing.golden_lists import bring_up_to_date
    >>> bring_up_to_date(pathlib.Path("names.txt"), "confirm_order")
    Traceback (most recent call last):
    AssertionError: names.txt was brought up to date: look at it, and commit it
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    raise AssertionError(UPDATED.format(file=file))
