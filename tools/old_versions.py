"""What the tests of the layers have to know of the lowest versions: a plugin of pytest.

    pytest -p tools.old_versions …

Since Click 8.2, `CliRunner` keeps standard error apart, and `Result.output` is both, as a terminal
shows them. With 8.1, the same is asked for by an option, and put together here.

On asyncio, SQLAlchemy before 2.0.55 gives a connection back in a task of its own, a moment after a
scope of AnyIO is cancelled. It cannot close one of asyncpg there: the next use of it fails once, or
it is closed when it is collected. Users are told so in compatibility.md. OpenTelemetry's SDK before
1.44 tries only once to reach a collector that is not there. Which tests see that, is here.
"""

from importlib.metadata import version
from typing import Any

import pytest
from click.testing import CliRunner, Result
from packaging.version import Version

CLOSED_LATER = ("sqlalchemy", "2.0.55")
MAY_FAIL = {  # with what is older than this
    "test_what_is_rolled_back_says_nothing": CLOSED_LATER,
    "test_what_is_under_way_on_a_lost_connection_is_told_and_the_next_one_works": CLOSED_LATER,
    "test_a_cancelled_context_is_left_in_order": CLOSED_LATER,
    "test_a_collector_that_is_away_holds_nobody_up": ("opentelemetry-sdk", "1.44"),
}

if Version(version("click")) < Version("8.2"):
    beginning: Any = CliRunner.__init__

    def keep_errors_apart(runner: CliRunner, *arguments: Any, **options: Any) -> None:
        beginning(runner, *arguments, mix_stderr=False, **options)

    CliRunner.__init__ = keep_errors_apart  # type: ignore[assignment,method-assign]
    Result.output = property(lambda result: result.stdout + result.stderr)  # type: ignore[assignment,method-assign]


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    for item in items:
        name, first = MAY_FAIL.get(str(item.originalname), (None, ""))
        if name and Version(version(name)) < Version(first):
            item.add_marker(pytest.mark.xfail(reason=f"{name} before {first}", strict=False))
