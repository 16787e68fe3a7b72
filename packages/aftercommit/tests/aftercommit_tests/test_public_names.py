"""What the engine offers has a name in `aftercommit` itself: all else may change."""

import os
import re
import sys
from pathlib import Path
from subprocess import run

import aftercommit
import pytest
from aftercommit import project

from aftercommit_tests import docstring_examples

TESTS = Path(__file__).parents[1]

PUBLIC = {
    "AggregateStore",
    "App",
    "Application",
    "Codec",
    "CommandLine",
    "CommitOutcomeUnknown",
    "ConnectionLost",
    "Database",
    "Dependencies",
    "EngineSettings",
    "Envelope",
    "EnvelopeFactory",
    "Every",
    "Extension",
    "GivenUp",
    "Handlers",
    "History",
    "IdempotencyKey",
    "InvalidValue",
    "Later",
    "Limited",
    "MessageBus",
    "MessageOrigin",
    "NAMING_CONVENTION",
    "Observer",
    "Outbox",
    "Outcome",
    "PUBLISH",
    "Publisher",
    "Ordered",
    "Otherwise",
    "Parts",
    "Refusals",
    "Refused",
    "Repository",
    "Seconds",
    "Sources",
    "Transaction",
    "TransientError",
    "Unavailable",
    "Unsubscribed",
    "UtcDateTime",
    "bind",
    "command_line",
    "ensure_schema",
    "ensure_versions",
    "message_types",
    "new_delivery_store",
    "on",
    "open_application",
    "open_unit_of_work",
}


def test_a_public_name_more_is_a_decision() -> None:
    """Each has to be kept from then on."""
    assert set(vars(aftercommit)["__all__"]) == PUBLIC


def test_type_checkers_know_the_same_names() -> None:
    """They read a list of their own, and do not run the other one."""
    stub = Path(str(aftercommit.__file__)).with_suffix(".pyi").read_text()
    found = re.findall(r"^from \.([\w.]+) import (\w+) as \2$", stub, re.MULTILINE)

    assert {name: home for home, name in found} == vars(aftercommit)["_HOMES"]


def test_each_has_an_example_that_runs(tmp_path: Path, shared_folder: Path) -> None:
    """So have those of the test kit, of extensions, and of what engines and migrations need.

    `shop` in them is the project as it is made.
    """
    (tmp_path / "postgres").symlink_to(shared_folder / "postgres")
    found = f"{TESTS}:{Path(project.__file__).parent / 'template' / 'src'}"
    python = [sys.executable, "-W", "error", "-m", docstring_examples.__name__]
    ran = run(
        python, cwd=tmp_path, env=os.environ | {"PYTHONPATH": found}, capture_output=True, text=True
    )

    assert (ran.stdout, ran.returncode) == ("", 0), ran.stderr


def test_what_is_not_offered_is_not_there() -> None:
    """Nor is it found by a star."""
    with pytest.raises(AttributeError, match="has no public name Worker"):
        getattr(aftercommit, "Worker")  # noqa: B009 - a type checker refuses it, too
