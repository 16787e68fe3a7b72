"""The settings of the extension "metrics"."""

import pytest
from aftercommit.errors import InvalidValue
from aftercommit.extensions.metrics.settings import MetricsSettings

from allocation.config import Settings, load


def test_nobody_is_told_unless_a_port_is_said() -> None:
    """And then only on this machine, unless another host is said: in a container nobody is here."""
    for settings in (Settings(), load({}, {})):
        assert settings.of(MetricsSettings) == MetricsSettings()

    here = load({"metrics_port": "9464"}, {}).of(MetricsSettings)
    environment = {"ALLOCATION_METRICS_PORT": "9464", "ALLOCATION_METRICS_HOST": "0.0.0.0"}
    everywhere = load({}, environment).of(MetricsSettings)

    assert (here.metrics_port, here.metrics_host) == (9464, "127.0.0.1")
    assert (everywhere.metrics_port, everywhere.metrics_host) == (9464, "0.0.0.0")


@pytest.mark.parametrize("text", ["0", "65536", "-1", "http"])
def test_an_unacceptable_port_names_its_variable(text: str) -> None:
    """As every setting does."""
    with pytest.raises(InvalidValue, match="^ALLOCATION_METRICS_PORT is not acceptable"):
        load({}, {"ALLOCATION_METRICS_PORT": text})
