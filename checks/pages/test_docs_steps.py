"""The steps in docs/steps print what their page shows: what is lost or doubled, and what is not."""

from pathlib import Path

import pytest

from tools.docs_steps import PAGE, STEPS, console, masked, run
from tools.generated import shown

pytestmark = pytest.mark.check


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.stem)
def test_a_step_does_what_its_page_says(step: Path, tmp_path: Path) -> None:
    """If it has to print something else: python -m tools.docs_steps."""
    printed = run(step, tmp_path)

    assert masked(console(step, printed)) == masked(shown(step.stem, PAGE))
