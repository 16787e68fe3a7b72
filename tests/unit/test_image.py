"""The image cannot be built everywhere; what can be checked without Docker is."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("name", re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE))
def test_everything_the_image_copies_exists(name: str) -> None:
    """A build that fails is found by a user otherwise."""
    assert all((ROOT / path).exists() for path in name.split())


def test_the_image_does_not_run_as_root() -> None:
    """Whoever breaks out of the application should not be root."""
    assert re.search(r"^USER (?!root)\w+$", DOCKERFILE, re.MULTILINE)
