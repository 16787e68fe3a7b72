"""The extensions of the engine that this service uses."""

from aftercommit.extensions.brokers import BrokersExtension
from aftercommit.extensions.operations import OperationsExtension
from aftercommit.extensions.postgresql import PostgreSQLExtension

EXTENSIONS = [
    PostgreSQLExtension(),
    OperationsExtension(),
    BrokersExtension("loyalty.entrypoints.broker_messages"),
]
