"""One more revision of each history, which only tests have: so there is always an upgrade to test.

    python -m aftercommit_tests.later_schema ARGUMENTS…

runs the application as its next version, which needs these revisions.
"""

import sys
from dataclasses import replace
from pathlib import Path

import click
from aftercommit import History

from aftercommit_tests.inside.stored import ENGINE
from aftercommit_tests.things.storage import HISTORY

FOLDER = Path(__file__).parent / "later_migrations"


def later(history: History, folder: Path = FOLDER) -> History:
    """Return a history as the next version has it."""
    return replace(history, folders=[*history.folders, folder / history.name])


def before(history: History) -> str:
    """Return the newest revision that there is without these."""
    return replace(history, folders=history.folders[:1]).newest


def run(cli: click.Group, history: History, folder: Path = FOLDER) -> None:
    """Run an application as its next version, which knows the engine's, too."""
    history.folders.append(folder / history.name)
    ENGINE.folders.append(FOLDER / ENGINE.name)
    cli(sys.argv[1:])


LATER = later(ENGINE), later(HISTORY)
"""The histories of the next version."""
NOW = {each.name: before(each) for each in LATER}
"""The newest revisions that the application has without these."""


if __name__ == "__main__":
    from aftercommit_tests.things.app import cli

    run(cli, HISTORY)
