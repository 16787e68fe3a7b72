"""The extensions of the engine that this service has."""

from aftercommit.extensions.brokers import BrokersExtension
from aftercommit.extensions.operations import OperationsExtension
from aftercommit.extensions.postgresql import PostgreSQLExtension

EXTENSIONS = [
    PostgreSQLExtension(),
    OperationsExtension(),
    BrokersExtension("loyalty.entrypoints.broker_messages"),
]
