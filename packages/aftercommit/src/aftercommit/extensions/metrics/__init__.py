"""The extension "metrics": for Prometheus, what is done and outstanding; and health checks.

Importing this package does not import prometheus-client: metrics import it when they are on.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from aftercommit.errors import install_hint
from aftercommit.process.parts import Extension, Parts

if TYPE_CHECKING:
    from aftercommit.extensions.metrics.settings import MetricsSettings
    from aftercommit.observers import Observer
    from aftercommit.process.application import Application
    from aftercommit.process.running_services import Shutdown
    from aftercommit.settings import EngineSettings

NAME = "metrics"


class MetricsExtension(Extension):
    """Serves metrics and health checks.

    >>> from aftercommit.extensions.metrics import MetricsExtension
    >>> [*MetricsExtension().parts().options]
    ['--metrics-port']
    """

    def parts(self) -> Parts:
        return Parts(
            name=NAME,
            options={
                "--metrics-port": "The port of GET /metrics, /healthz and /readyz, while working or"
                " consuming, on 127.0.0.1 (or {prefix}_METRICS_HOST). Default: none"
            },
            settings="aftercommit.extensions.metrics.settings:MetricsSettings",
            observers=[_observer],
            lifespans=[_lifespan],
        )


def _wanted(settings: EngineSettings) -> MetricsSettings:
    from aftercommit.extensions.metrics.settings import MetricsSettings

    return settings.of(MetricsSettings)


def _observer(settings: EngineSettings) -> AbstractContextManager[Observer] | None:
    wanted = _wanted(settings)
    if not (wanted.metrics_port or wanted.collect_metrics):
        return None
    try:
        from aftercommit.extensions.metrics.observer import MetricsObserver
    except ModuleNotFoundError as error:
        problem = f"needs {error.name}; {install_hint(NAME)}"
        raise settings.refused("metrics_port", problem) from None
    return nullcontext(MetricsObserver(settings.application))


def _lifespan(
    settings: EngineSettings, application: Application, stop: Shutdown
) -> AbstractAsyncContextManager[None]:
    if _wanted(settings).metrics_port is None:
        return nullcontext()
    from aftercommit.extensions.metrics.monitoring_server import serving_metrics

    return serving_metrics(settings, application, stop)
