"""Each room can be taken out of a copy, and the rest still works."""

import pytest

from allocation.rooms import ROOMS
from tests.copies.conftest import ON_ONE_EVENT_LOOP, Copy
from tests.copies.taking_out import assert_the_rest_works, take_out

pytestmark = pytest.mark.timeout(1000)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_can_be_taken_out(room: str, copy: Copy) -> None:
    """Whoever copies this must be able to do without what they do not need.

    No room knows of event loops, so that the tests of what is left run on one of them.
    """
    take_out(copy, room)

    assert_the_rest_works(copy, [room], ON_ONE_EVENT_LOOP)


def test_what_cannot_be_taken_out_is_said(copy: Copy) -> None:
    """And nothing is touched: work that is not committed could not be told from the rest."""
    with pytest.raises(AssertionError, match="there is no room 'attic'; there are: postgresql, "):
        take_out(copy, "attic")
    (copy.folder / "note.txt").write_text("call Maria")
    with pytest.raises(AssertionError, match="not committed"):
        take_out(copy, "smtp")

    assert copy.run("git", "status", "--porcelain") == "?? note.txt\n"
