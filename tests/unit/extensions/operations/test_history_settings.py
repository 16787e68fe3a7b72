"""The settings of the extension "operations"."""

import pytest
from aftercommit.errors import InvalidValue
from aftercommit.extensions.operations.settings import OperationsSettings

from allocation.config import Settings, load


@pytest.mark.parametrize(("text", "days"), [("", None), ("30", 30.0), ("0.5", 0.5)])
def test_history_is_kept_for_ever_unless_it_is_said(text: str, days: float | None) -> None:
    """A number of days, or parts of one; whether the settings were read or not."""
    settings = load({}, {"ALLOCATION_RETENTION_DAYS": text})

    assert settings.of(OperationsSettings).retention_days == days
    assert Settings().of(OperationsSettings).retention_days is None


@pytest.mark.parametrize("text", ["0", "-1", "30d", "nan", "inf", "1e9"])
def test_an_unacceptable_number_names_its_variable(text: str) -> None:
    """Zero would mean that everything goes at once: nobody means that."""
    with pytest.raises(InvalidValue, match="^ALLOCATION_RETENTION_DAYS is not acceptable"):
        load({}, {"ALLOCATION_RETENTION_DAYS": text})
