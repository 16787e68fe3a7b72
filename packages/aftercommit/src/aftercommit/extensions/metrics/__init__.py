"""The extension "metrics": what is done and what is outstanding, for Prometheus; and health checks.

Importing this package does not import prometheus-client: that waits until metrics are wanted.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from aftercommit.errors import install_hint
from aftercommit.process.extension import Extension

if TYPE_CHECKING:
    from aftercommit.extensions.metrics.settings import MetricsSettings
    from aftercommit.observers import Observer
    from aftercommit.process.application import Application
    from aftercommit.process.runtime import Shutdown
    from aftercommit.settings import EngineSettings


class MetricsExtension(Extension):
    """What it brings to the program.

    >>> from aftercommit import Extensions
    >>> from aftercommit.extensions.metrics import MetricsExtension
    >>> extensions = Extensions([MetricsExtension()])
    >>> extensions.settings()[0]().metrics_host
    '127.0.0.1'
    """

    name = "metrics"
    options = {
        "--metrics-port": "Answer GET /metrics, /healthz and /readyz here, while working or"
        " consuming, on 127.0.0.1 (or {prefix}_METRICS_HOST). Default: none"
    }

    def settings(self) -> type:
        from aftercommit.extensions.metrics.settings import MetricsSettings

        return MetricsSettings

    def observer(self, settings: EngineSettings) -> AbstractContextManager[Observer] | None:
        wanted: MetricsSettings = settings.of(self.settings())
        if not (wanted.metrics_port or wanted.collect_metrics):
            return None
        try:
            from aftercommit.extensions.metrics.observer import MetricsObserver
        except ModuleNotFoundError as error:
            problem = f"needs {error.name}; {install_hint(self.name)}"
            raise settings.refused("metrics_port", problem) from None
        return nullcontext(MetricsObserver(settings.application))

    def lifespan(
        self, settings: EngineSettings, application: Application, stop: Shutdown
    ) -> AbstractAsyncContextManager[None]:
        wanted: MetricsSettings = settings.of(self.settings())
        if wanted.metrics_port is None:
            return super().lifespan(settings, application, stop)
        from aftercommit.extensions.metrics.metrics_server import serving_metrics

        return serving_metrics(settings, application, stop)
