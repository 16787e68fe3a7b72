"""All rooms can be taken out of a copy. `make test` does this, too."""

import pytest

from allocation.rooms import ROOMS
from tests.copies.conftest import CORE_ON_SQLITE, Copy
from tests.copies.taking_out import assert_the_rest_works, take_out


@pytest.mark.timeout(1000)
def test_all_rooms_can_be_taken_out(copy: Copy) -> None:
    """What is left is the core: what a reader has to understand."""
    take_out(copy, *ROOMS)

    assert_the_rest_works(copy, [*ROOMS], CORE_ON_SQLITE)
