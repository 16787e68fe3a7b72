"""Each extension can be taken out of a copy, and all of them, and the rest still works."""

import pytest

from allocation.extensions import EXTENSIONS
from tests.copies.conftest import Copy
from tests.copies.taking_out import assert_the_rest_works, take_out

pytestmark = pytest.mark.timeout(1000)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_an_extension_can_be_taken_out(extension: str, copy: Copy) -> None:
    """Whoever copies this must be able to do without what they do not need."""
    take_out(copy, extension)

    assert_the_rest_works(copy, [extension])


def test_all_extensions_can_be_taken_out(copy: Copy) -> None:
    """What is left is the core: what a reader has to understand. So it is never checked briefly."""
    take_out(copy, *EXTENSIONS)

    assert_the_rest_works(copy, [*EXTENSIONS], brief=False)


def test_what_cannot_be_taken_out_is_said(copy: Copy) -> None:
    """And nothing is touched: work that is not committed could not be told from the rest."""
    with pytest.raises(
        AssertionError, match="there is no extension 'attic'; there are: postgresql, "
    ):
        take_out(copy, "attic")
    (copy.folder / "note.txt").write_text("call Maria")
    with pytest.raises(AssertionError, match="not committed"):
        take_out(copy, "smtp")

    assert copy.run("git", "status", "--porcelain") == "?? note.txt\n"
