"""The extensions of the engine that this service uses."""

from aftercommit.extensions.brokers import BrokersExtension
from aftercommit.extensions.metrics import MetricsExtension
from aftercommit.extensions.operations import OperationsExtension
from aftercommit.extensions.page import PageExtension
from aftercommit.extensions.postgresql import PostgreSQLExtension
from aftercommit.extensions.smtp import SmtpExtension
from aftercommit.extensions.web import WebExtension

EXTENSIONS = [
    PostgreSQLExtension(),
    SmtpExtension("emails"),
    OperationsExtension(),
    BrokersExtension("shop.entrypoints.broker_messages"),
    MetricsExtension(),
    WebExtension("shop.entrypoints.http"),
    PageExtension(),
]
