"""The document is true: what it lets be sent is answered as it says, and what it does not, refused.

Schemathesis reads it from the server, makes requests of it, and checks each answer, by all checks
that it has: by examples, at the limits of each value, at random, and one after the other by links.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import LIMIT_SECONDS, Program, stop, wait_for_line

ROOT = Path(__file__).parents[2]
TOKEN = "t0ken-of-the-operator"
ARGUMENTS = ("--checks=all", "--max-examples=3", "--seed=2026", "--no-color")


@pytest.fixture
def backend() -> str:
    """HTTP is served on asyncio only."""
    return "asyncio"


def test_every_answer_is_documented(program: Program) -> None:
    """Status, media type, headers and body of every answer; and the token is needed."""
    hooks = {"SCHEMATHESIS_HOOKS": "tests.e2e.api_cases", "PYTHONPATH": str(ROOT)}
    configuration = program.folder / "schemathesis.toml"
    configuration.write_text(f'[auth.openapi.operator]\nbearer = "{TOKEN}"\n')
    serve = ("serve", "--port", "0")
    with program.running(*serve, operator_token=TOKEN, dispatch="worker") as server:
        line = wait_for_line(server.stdout, "listening on http://127.0.0.1:")
        url = re.findall(r"http://127\.0\.0\.1:\d+", line)[0]
        command = ("-m", "schemathesis.cli", "--config-file", str(configuration), "run")
        result = subprocess.run(
            [sys.executable, *command, *ARGUMENTS, f"{url}/openapi.json"],
            cwd=program.folder,
            env=os.environ | hooks,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
        )
        assert stop(server) == 0

    assert result.returncode == 0, result.stdout
