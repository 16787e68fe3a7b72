"""The settings of the extension "brokers"."""

import pytest
from aftercommit.errors import InvalidValue
from aftercommit.extensions.brokers.settings import BrokerSettings

from allocation.config import Settings, load

URL = "amqp://ivan:hunter2@broker.example.com"


def test_they_are_read_with_the_others() -> None:
    """From options and environment alike."""
    settings = load({"prefetch": 5}, {"ALLOCATION_BROKER_URLS": f"{URL} kafka://k:9092"})

    assert settings.of(BrokerSettings).prefetch == 5
    assert settings.of(BrokerSettings).urls == [URL, "kafka://k:9092"]


def test_without_any_setting_there_is_no_broker() -> None:
    """Whether they were read or not."""
    for settings in (Settings(), load({}, {})):
        assert settings.of(BrokerSettings) == BrokerSettings(broker_urls=None, prefetch=20)


def test_an_unacceptable_value_names_its_variable() -> None:
    """As everywhere."""
    with pytest.raises(InvalidValue, match="^ALLOCATION_PREFETCH is not acceptable"):
        load({}, {"ALLOCATION_PREFETCH": "0"})


def test_secrets_do_not_show_in_repr() -> None:
    """A repr is what ends up in logs and error reports."""
    settings = load({}, {"ALLOCATION_BROKER_URLS": URL})

    assert "prefetch=20" in repr(settings)
    assert "hunter2" not in repr(settings)
