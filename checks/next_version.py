"""One more revision of the application's history beside that of the engine, which only tests have.

    python -m checks.next_version ARGUMENTS…

runs the application as its next version, which needs these revisions.
"""

from pathlib import Path

from aftercommit_tests import later_schema

from allocation.adapters.migrations import HISTORY
from allocation.entrypoints.app import cli

FOLDER = Path(__file__).parent / "later_migrations"
LATER = (later_schema.LATER[0], later_schema.later(HISTORY, FOLDER))
"""The histories of the next version."""


if __name__ == "__main__":
    later_schema.run(cli, HISTORY, FOLDER)
