"""The extensions of this application, in the order in which each is asked.

Importing this imports no library that an extension needs: the list of commands has to be quick.
"""

from allocation.extensions.brokers import BrokersExtension
from allocation.extensions.metrics import MetricsExtension
from allocation.extensions.operations import OperationsExtension
from allocation.extensions.otel import OtelExtension
from allocation.extensions.page import PageExtension
from allocation.extensions.postgresql import PostgreSQLExtension
from allocation.extensions.web import WebExtension
from allocation.process.extension import Extensions

EXTENSIONS = Extensions(
    (
        PostgreSQLExtension(),
        BrokersExtension(),
        OperationsExtension(),
        MetricsExtension(),
        OtelExtension(),
        WebExtension(),
        PageExtension(),
    )
)
