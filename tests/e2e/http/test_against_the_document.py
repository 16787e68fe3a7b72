"""The document is true: what it lets be sent is answered as it says, and what it does not, refused.

Schemathesis reads it from the server, makes requests of it, and checks each answer, by all checks
that it has: by examples, at the limits of each value, at random, and one after the other by links.
"""

import subprocess
import sys

from tests.e2e.extensions.web.serving import serving
from tests.e2e.processes import TIMEOUT_SECONDS, Application
from tests.web import TOKEN

ARGUMENTS = ("--checks=all", "--max-examples=5", "--seed=2026", "--no-color")


def test_every_answer_is_documented(on_each: Application) -> None:
    """Status, media type, headers and body of every answer; and the token is needed."""
    environment = on_each.environment() | {"SCHEMATHESIS_HOOKS": "tests.e2e.http.cases"}
    with serving(on_each, dispatch="worker") as server:
        configuration = on_each.folder / "schemathesis.toml"
        configuration.write_text(f'[auth.openapi.operator]\nbearer = "{TOKEN}"\n')
        command = ("-m", "schemathesis.cli", "--config-file", str(configuration), "run")
        result = subprocess.run(
            [sys.executable, *command, *ARGUMENTS, f"{server.url}/openapi.json"],
            cwd=on_each.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
        assert server.stop() == 0

    assert result.returncode == 0, result.stdout
