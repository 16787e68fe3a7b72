"""The settings of the room "operations"."""

import pytest

from allocation.adapters.operations.settings import OperationsSettings
from allocation.config import Settings, load
from allocation.domain.exceptions import InvalidValue


def test_history_is_kept_for_ever_unless_it_is_said() -> None:
    """Whether the settings were read or not."""
    for settings in (Settings(), load({}, {}), load({}, {"ALLOCATION_KEEP_HISTORY_DAYS": ""})):
        assert settings.of(OperationsSettings).keep_history_days is None


@pytest.mark.parametrize(("text", "days"), [("30", 30.0), ("0.5", 0.5)])
def test_it_is_kept_for_a_number_of_days(text: str, days: float) -> None:
    """Or parts of one."""
    settings = load({}, {"ALLOCATION_KEEP_HISTORY_DAYS": text})

    assert settings.of(OperationsSettings).keep_history_days == days


@pytest.mark.parametrize("text", ["0", "-1", "30d", "nan", "inf", "1e9"])
def test_an_unacceptable_number_names_its_variable(text: str) -> None:
    """Zero would mean that everything goes at once: nobody means that."""
    with pytest.raises(InvalidValue, match="^ALLOCATION_KEEP_HISTORY_DAYS is not acceptable"):
        load({}, {"ALLOCATION_KEEP_HISTORY_DAYS": text})
