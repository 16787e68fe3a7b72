"""Reads the tutorial, and the patch of its use case: the commands in the order of the reader."""

import re
from pathlib import Path

from checks.console_blocks import Command, commands

DOCS = Path(__file__).parents[1] / "docs"
TUTORIAL = DOCS / "tutorial.md"
PATCH = DOCS / "use_case" / "waiting_list.patch"

BY_HAND = re.findall(r"^\+\+\+ b/(.+)$", PATCH.read_text(), re.MULTILINE)
"""The files that the worked use case changes."""

VARIABLES = dict(re.findall(r"^export (\w+)=(\S+)$", TUTORIAL.read_text(), re.MULTILINE))
"""What the page tells to set, before anything else."""


def tutorial() -> list[Command]:
    """Return the steps of the tutorial."""
    blocks = re.findall(r"^```console\n(.*?)^```$", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)
    return [step for block in blocks for step in commands(block)]
