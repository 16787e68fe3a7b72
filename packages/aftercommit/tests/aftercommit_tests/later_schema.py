"""One more revision of each history, which only tests have: so there is always an upgrade to test.

    python -m aftercommit_tests.later_schema ARGUMENTS…

runs the application as its next version, which needs these revisions.
"""

import sys
from dataclasses import replace
from pathlib import Path

from aftercommit.sql.migrations.history import ENGINE, History

from aftercommit_tests.things.storage import HISTORY

FOLDER = Path(__file__).parent / "later_migrations"
NOW = {each.name: replace(each, folders=each.folders[:1]).newest for each in (ENGINE, HISTORY)}
"""The newest revisions that the application has without these."""


def _later(history: History) -> History:
    return replace(history, folders=[*history.folders, FOLDER / history.name])


LATER = _later(ENGINE), _later(HISTORY)
"""The histories of the next version."""


if __name__ == "__main__":
    from aftercommit_tests.things.app import cli

    for history in (ENGINE, HISTORY):
        history.folders.append(FOLDER / history.name)
    cli(sys.argv[1:])
