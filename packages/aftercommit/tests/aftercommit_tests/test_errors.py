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
    "defect": False,  # the program may be repaired by then
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


ERRORS = [*all_errors()]
TOLD = [error for error in ERRORS if error.__name__ not in UNTOLD]


def test_every_error_has_a_known_kind_and_a_name_of_its_own() -> None:
    """One without a kind would be taken for a bug: another exit code, 500, and no dead letter."""
    assert {error.__name__ for error in ERRORS if not has_kind(error)} == UNTOLD
    assert len({*map(slug_of, TOLD)}) == len(TOLD) > 40


@pytest.mark.parametrize("error", TOLD, ids=lambda error: error.__name__)
def test_an_error_is_permanent_if_the_message_itself_is_the_problem(
    error: type[Exception],
) -> None:
    """A wrong yes loses an e-mail until somebody looks; a wrong no tries in vain for hours."""
    expected = OTHERWISE.get(error.__name__, IS_PERMANENT[kind_of(error)])

    assert is_permanent(error.__new__(error)) is expected


class TheirError(Exception):
    """Others name attributes as they like: an error of theirs is no promise of ours."""

    error_kind = "no such kind"


@pytest.mark.parametrize("error", [Error(), OSError("refused"), KeyError("a bug"), TheirError()])
def test_an_error_of_no_known_kind_is_a_bug_and_may_pass(error: Exception) -> None:
    """A server comes back, and a bug is fixed by the next release: the e-mail still goes out."""
    assert not has_kind(error)
    assert kind_of(error) == "defect"
    assert not is_permanent(error)
