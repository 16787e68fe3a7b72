"""The command of the HTTP server, in an installation that lacks what it needs."""

import sys

import pytest
from click.testing import CliRunner

from allocation.entrypoints.cli import cli


def test_serve_without_its_libraries_says_how_to_install_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A traceback would look like a bug in the program."""
    for name in [name for name in sys.modules if name.startswith("aftercommit.extensions.web.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)

    result = CliRunner().invoke(cli, ["serve"])

    assert result.exit_code == 2
    assert "allocation serve needs fastapi; pip install 'aftercommit[web]'" in result.output
