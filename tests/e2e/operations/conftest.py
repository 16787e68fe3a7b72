"""The application of this room, on each kind of database."""

from pathlib import Path

import pytest

from tests.e2e.processes import Application


@pytest.fixture(
    params=[
        "sqlite",
        "postgres",  # room: postgresql
    ]
)
def on_each(request: pytest.FixtureRequest, tmp_path: Path, backend: str) -> Application:
    """The application with an empty database."""
    application = Application(tmp_path, backend=backend)
    # room: postgresql
    if request.param == "postgres":
        application.postgres_url = request.getfixturevalue("postgres_url")
        return application
    # end
    assert application.run("db", "upgrade").returncode == 0
    return application
