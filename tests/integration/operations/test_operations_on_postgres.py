# room: operations, postgresql
"""The commands of the room "operations" with a database on a server."""

import pytest

from tests.command_line import Application


@pytest.mark.parametrize(
    "command",
    [
        ("deliveries", "list"),
        ("deliveries", "retry", "--all-parked"),
        ("events", "prune", "--older-than", "1d"),
    ],
)
def test_whoever_only_looks_needs_no_place_for_emails(
    application: Application, command: tuple[str, ...]
) -> None:
    """Beside a database on a server there is none by itself."""
    result = application.run(*command, database_url="postgresql://127.0.0.1:1/allocation")

    assert result.returncode == 3
    assert "the database is not available" in result.stderr
