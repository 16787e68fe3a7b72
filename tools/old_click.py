"""Lets the tests of the command line run with Click 8.1, the floor: a plugin of pytest.

    pytest -p tools.old_click …

Since Click 8.2, `CliRunner` keeps standard error apart, and `Result.output` is both, as a terminal
shows them. With 8.1, the same is asked for by an option, and put together here.
"""

from importlib.metadata import version
from typing import Any

from click.testing import CliRunner, Result

if version("click").startswith("8.1."):
    beginning: Any = CliRunner.__init__

    def keep_errors_apart(runner: CliRunner, *arguments: Any, **options: Any) -> None:
        beginning(runner, *arguments, mix_stderr=False, **options)

    CliRunner.__init__ = keep_errors_apart  # type: ignore[assignment,method-assign]
    Result.output = property(lambda result: result.stdout + result.stderr)  # type: ignore[assignment,method-assign]
