"""The errors of this application: the kind of each, by which deliveries and callers go."""

import re
import sys

from aftercommit.cli.error_handling import exit_code
from aftercommit.errors import has_kind, is_permanent, kind_of, slug_of

from allocation.domain.bases import DomainError
from tools.generated import all_errors
from tools.repository import ROOT

KNOWN = all_errors()
OURS = [error for error in KNOWN if error.__module__.startswith("allocation.")]


def test_every_error_has_a_known_kind() -> None:
    """One without a kind would be taken for a bug: another exit code, 500, and no dead letter."""
    modules = [module for name, module in sys.modules.items() if name.startswith("allocation.")]
    found = [each for module in modules for each in vars(module).values()]
    errors = {each for each in found if isinstance(each, type) and issubclass(each, Exception)}
    errors = {each for each in errors if each.__module__.startswith("allocation.")} - {DomainError}

    assert [error for error in errors if not has_kind(error)] == []
    assert errors == set(OURS)


def test_the_table_of_kinds_has_the_exit_code_of_each() -> None:
    """Anyone who writes a script goes by kinds, and not by forty errors."""
    page = (ROOT / "docs" / "errors.md").read_text()
    said = re.findall(r"^\| `(\w+)` \| `\w+` \|.*\| (\d+) \|$", page, re.MULTILINE)
    raised = [error.__new__(error) for error in KNOWN]

    assert {*said} == {(kind_of(error), str(exit_code(error))) for error in raised}


def test_machines_know_each_error_by_a_name_of_its_own() -> None:
    """What has the same name, such as a value that a model and the engine refuse, is one thing."""
    slugs = [*map(slug_of, KNOWN)]

    assert {e.__name__ for e in KNOWN if slugs.count(slug_of(e)) > 1} == {"InvalidValue"}


def test_what_the_domain_refuses_is_not_tried_again() -> None:
    """To try a refusal again would only delay the moment somebody looks at it."""
    of_domain = [error for error in OURS if error.__module__.startswith("allocation.domain")]

    assert of_domain != []
    assert [error for error in of_domain if not is_permanent(error.__new__(error))] == []
