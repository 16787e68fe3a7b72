"""The image cannot be built everywhere; what can be checked without Docker is."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PINNED = "PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt "


@pytest.mark.parametrize("name", re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE))
def test_everything_the_image_copies_exists(name: str) -> None:
    """A build that fails is found by a user otherwise."""
    assert all((ROOT / path).exists() for path in name.split())


def test_the_image_is_made_of_what_was_tested() -> None:
    """Else a build of the same commit would have other programs tomorrow, unseen by anybody."""
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    installed = re.findall(r"^RUN (.*pip install .*)$", DOCKERFILE, re.MULTILINE)

    assert [
        base for base in bases if not re.search(r":\d+\.\d+\.\d+-.*@sha256:[0-9a-f]{64}$", base)
    ] == []
    assert len(installed) == len([each for each in installed if PINNED in each]) == 1


def test_the_image_does_not_run_as_root() -> None:
    """Whoever breaks out of the application should not be root."""
    assert re.search(r"^USER (?!root)\w+$", DOCKERFILE, re.MULTILINE)
