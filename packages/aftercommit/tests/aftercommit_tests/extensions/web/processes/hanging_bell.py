"""Runs the application with a bell that hangs, and lets itself be cancelled.

python -m aftercommit_tests.extensions.web.processes.hanging_bell ARGUMENTS…
"""

import click
from anyio import sleep_forever

from aftercommit_tests.things.app import cli
from aftercommit_tests.things.bell import FileBell


async def hang(bell: FileBell, text: str, *, idempotency_key: str) -> bool:
    """Wait for ever."""
    click.echo("hanging")
    await sleep_forever()
    return True


if __name__ == "__main__":
    FileBell.ring = hang  # type: ignore[method-assign, assignment]
    cli(prog_name="things")
