"""What probes ask, and what counts."""

from aftercommit.extensions.metrics import monitoring_server as monitoring_server
from aftercommit.extensions.metrics import observer as observer
from aftercommit.extensions.metrics import process_health as process_health
from aftercommit.extensions.metrics.monitoring_server import MetricsServer as MetricsServer
from aftercommit.extensions.metrics.observer import FAILING_SECONDS as FAILING_SECONDS
from aftercommit.extensions.metrics.observer import RECENT_SECONDS as RECENT_SECONDS
from aftercommit.extensions.metrics.observer import MetricsObserver as MetricsObserver
from aftercommit.extensions.metrics.observer import WriteHealth as WriteHealth
from aftercommit.extensions.metrics.process_health import STALE_SECONDS as STALE_SECONDS
from aftercommit.extensions.metrics.process_health import TEXT_SECONDS as TEXT_SECONDS
from aftercommit.extensions.metrics.process_health import Probes as Probes
