"""The extensions: what a copy of this program may do without. The core reaches them by this table.

Each says in its package what it brings: see `base.py`, and docs/decisions/0011.
"""

from allocation.extensions.base import Extension
from allocation.extensions.brokers import BrokersExtension
from allocation.extensions.metrics import MetricsExtension
from allocation.extensions.operations import OperationsExtension
from allocation.extensions.otel import OtelExtension
from allocation.extensions.page import PageExtension
from allocation.extensions.postgresql import PostgreSQLExtension
from allocation.extensions.smtp import SmtpExtension
from allocation.extensions.web import WebExtension

__all__ = ["EXTENSIONS", "LOG_FORMATS", "MAIL_URL_EXAMPLES", "Extension"]

EXTENSIONS: dict[str, Extension] = {
    "postgresql": PostgreSQLExtension(),
    "brokers": BrokersExtension(),
    "operations": OperationsExtension(),
    "smtp": SmtpExtension(),
    "metrics": MetricsExtension(),
    "otel": OtelExtension(),
    "web": WebExtension(),
    "page": PageExtension(),
}

LOG_FORMATS = ("text", *(name for each in EXTENSIONS.values() for name in each.log_formats))
MAIL_URL_EXAMPLES = " or ".join(
    ("maildir:FOLDER", *(form for each in EXTENSIONS.values() for form in each.mail_url_examples))
)
