"""The extensions of this application, in the order in which the engine asks them.

Importing this imports no library of an extension, because the list of commands has to be fast.
"""

from functools import partial

from aftercommit.extensions.brokers import BrokersExtension
from aftercommit.extensions.metrics import MetricsExtension
from aftercommit.extensions.operations import OperationsExtension, SubjectQuery
from aftercommit.extensions.otel import OtelExtension
from aftercommit.extensions.page import PageExtension
from aftercommit.extensions.postgresql import PostgreSQLExtension
from aftercommit.extensions.smtp import SmtpExtension
from aftercommit.extensions.web import WebExtension


def find_subjects(email: str) -> SubjectQuery:
    """Return the query for the user with this e-mail address, for whose traces operators search.

    :raises InvalidValue: if it is not an e-mail address
    """
    from allocation import views
    from allocation.domain.values import EmailAddress

    return partial(views.holders_of, address=EmailAddress(email))


EXTENSIONS = (
    PostgreSQLExtension(),
    SmtpExtension("notifications"),
    BrokersExtension("allocation.entrypoints.broker_messages"),
    OperationsExtension(find_subjects, form={"format": "idn-email"}),
    MetricsExtension(),
    OtelExtension(),
    WebExtension("allocation.entrypoints.http.routes"),
    PageExtension(),
)
