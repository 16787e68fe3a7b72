"""The lists that a later version has to keep: a test of the application says what would be lost."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from aftercommit import App, Handlers, on, testing
from aftercommit.extensions.web import WebExtension
from fastapi import APIRouter

from aftercommit_tests.things import handlers, routes
from aftercommit_tests.things.app import APP, Settings
from aftercommit_tests.things.domain import ThingMade, ThingPolished


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the list is; it is not there yet."""
    return tmp_path / "golden" / "list.txt"


def with_table(renamed: Mapping[str, str]) -> App[Settings]:
    """Return the application with another table."""
    entries = [on(ThingMade, handlers.write_down), on(ThingPolished, handlers.praise)]
    return APP.with_parts(handlers=Handlers(commands=[], events=entries, renamed=renamed))


def test_a_new_list_has_all_names_and_is_to_be_committed(file: Path) -> None:
    """As one that was brought up to date: what is not committed protects nobody."""
    for check in (testing.check_handler_names, testing.check_public_routes):
        with pytest.raises(
            AssertionError, match=r"list\.txt was brought up to date: look at it, and"
        ):
            check(APP, file)
        check(APP, file)
        names = file.read_text().splitlines()
        file.unlink()

    assert names == ["POST /things"]


def test_a_handler_that_was_renamed_needs_its_old_name(file: Path) -> None:
    """Stored deliveries are for it."""
    file.parent.mkdir()
    file.write_text("praise\nwrite_it\n")

    with pytest.raises(AssertionError) as refused:
        testing.check_handler_names(with_table({}), file)

    assert str(refused.value).startswith(
        "write_it is gone, but there may be stored deliveries to it."
    )
    assert 'renamed={"write_it": "its new name"}' in str(refused.value)
    assert file.read_text() == "praise\nwrite_it\n"
    renamed = with_table({"write_it": "write_down"})
    with pytest.raises(AssertionError, match="brought up to date"):
        testing.check_handler_names(renamed, file)
    testing.check_handler_names(renamed, file)
    assert file.read_text() == "praise\nwrite_down\nwrite_it\n"


def test_a_route_that_was_opened_to_all_is_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one in a router of its own, and one that the documentation does not show."""
    opened = APIRouter()
    opened.include_router(routes.public)
    opened.delete("/things/{thing_id}")(routes.rename_thing)
    opened.post("/hidden", include_in_schema=False)(routes.make_thing)
    file.parent.mkdir()
    file.write_text("POST /things\n")
    testing.check_public_routes(APP, file)

    monkeypatch.setattr(routes, "public", opened)
    with pytest.raises(AssertionError) as refused:
        testing.check_public_routes(APP, file)

    first, second = [line for line in str(refused.value).splitlines() if "anybody now" in line]
    assert first.startswith("DELETE /things/{thing_id} can be called by anybody now.")
    assert second.startswith("POST /hidden can")
    assert "router `guarded`" in str(refused.value)
    assert file.read_text() == "POST /things\n"


def test_a_router_that_the_application_brings_besides_is_public_too(file: Path) -> None:
    """It stands in no module of routes."""
    file.parent.mkdir()
    file.write_text("POST /things\n")
    router = APIRouter()
    router.get("/count")(routes.make_thing)
    assert WebExtension in map(type, APP.extensions)

    with pytest.raises(AssertionError, match="GET /count can be called by anybody now"):
        testing.check_public_routes(APP.with_parts(public_routes=[lambda: router]), file)
