"""Settings of extensions, which an application reads by their name."""

from aftercommit.extensions.brokers.settings import BrokerSettings as BrokerSettings
from aftercommit.extensions.metrics.settings import MetricsSettings as MetricsSettings
from aftercommit.extensions.operations.settings import OperationsSettings as OperationsSettings
from aftercommit.extensions.smtp.settings import SmtpSettings as SmtpSettings
from aftercommit.settings import EventLoop as EventLoop
from aftercommit.settings import load as load
