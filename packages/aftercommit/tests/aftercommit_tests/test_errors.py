"""The errors of the engine: the kind of each, by which deliveries, callers and machines go."""

from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages

import aftercommit
import pytest
from aftercommit.errors import Error, Kind, has_kind, is_permanent, kind_of, slug_of

IS_PERMANENT: dict[Kind, bool] = {
    "invalid": True,
    "refused": True,
    "conflict": False,
    "transient": False,
    "unavailable": False,
    "defect": False,  # the program may be mended by then
}
OTHERWISE = {
    "StatementRefused": True,
    "PermissionDenied": True,
    "UnsuitableDatabase": True,  # the database will say it again
    "CausationTooDeep": True,  # to try it again would only go on in a circle
}
UNTOLD = {"ConfirmTimeoutError", "MessageRefusedError"}  # as an OSError, they are no bugs


def all_errors() -> Iterator[type[Exception]]:
    """Yield what any module of the engine defines, whatever its base."""
    found = walk_packages(aftercommit.__path__, "aftercommit.")
    for name in (module.name for module in found if "migrations" not in module.name):
        for each in vars(import_module(name)).values():
            is_error = isinstance(each, type) and issubclass(each, Exception)
            if is_error and each is not Error and each.__module__ == name:
                yield each


ERRORS = {error.__name__: error for error in all_errors()}
TOLD = {name: error for name, error in ERRORS.items() if name not in UNTOLD}


def test_every_error_has_a_known_kind_and_a_name_of_its_own() -> None:
    """One without a kind would be taken for a bug: another exit code, 500, and no dead letter."""
    assert {name for name, error in ERRORS.items() if not has_kind(error)} == UNTOLD
    assert len({*map(slug_of, TOLD.values())}) == len(TOLD) > 40


@pytest.mark.parametrize("name", sorted(TOLD))
def test_an_error_is_permanent_if_the_message_itself_is_the_problem(name: str) -> None:
    """A wrong yes loses an e-mail until somebody looks; a wrong no tries in vain for hours."""
    error = TOLD[name]

    expected = OTHERWISE.get(name, IS_PERMANENT[kind_of(error)])

    assert is_permanent(error.__new__(error)) is expected


@pytest.mark.parametrize("kind", ["no such kind", None, 7])
def test_an_unknown_kind_is_that_of_a_bug(kind: object) -> None:
    """Others name attributes as they like: an error of theirs is no promise of ours."""
    theirs = type("TheirError", (Exception,), {"error_kind": kind})()

    assert not has_kind(theirs)
    assert kind_of(theirs) == "defect"


@pytest.mark.parametrize("error", [Error(), OSError("refused"), TimeoutError(), KeyError("a bug")])
def test_an_error_of_no_kind_may_pass(error: Exception) -> None:
    """A server comes back, and a bug is fixed by the next release: the e-mail still goes out."""
    assert not is_permanent(error)
