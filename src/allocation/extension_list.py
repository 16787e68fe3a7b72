"""The extensions of this application, in the order in which each is asked.

Importing this imports no library that an extension needs: the list of commands has to be quick.
"""

from allocation.extensions.brokers import BrokersExtension
from allocation.extensions.metrics import MetricsExtension
from allocation.extensions.operations import OperationsExtension, SubjectQuery
from allocation.extensions.otel import OtelExtension
from allocation.extensions.page import PageExtension
from allocation.extensions.postgresql import PostgreSQLExtension
from allocation.extensions.web import WebExtension
from allocation.process.extension import Extensions


def find_subjects(email: str) -> SubjectQuery:
    """Return the query for the user who has this e-mail address, of whom operators look for traces.

    :raises InvalidValue: if it is not an e-mail address
    """
    from allocation import views

    return views.find_subjects(email)


EXTENSIONS = Extensions(
    (
        PostgreSQLExtension(),
        BrokersExtension(),
        OperationsExtension(find_subjects, form={"format": "idn-email"}),
        MetricsExtension(),
        OtelExtension(),
        WebExtension(),
        PageExtension(),
    )
)
