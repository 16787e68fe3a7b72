"""This application, as the engine starts it: its parts, each imported when it is used.

Importing an extension imports no library of it, because the list of commands has to be fast.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from aftercommit import App, command_line
from aftercommit.extensions.brokers import BrokersExtension
from aftercommit.extensions.metrics import MetricsExtension
from aftercommit.extensions.operations import OperationsExtension, SubjectQuery
from aftercommit.extensions.otel import OtelExtension
from aftercommit.extensions.page import PageExtension
from aftercommit.extensions.postgresql import PostgreSQLExtension
from aftercommit.extensions.smtp import SmtpExtension
from aftercommit.extensions.web import WebExtension

if TYPE_CHECKING:
    from aftercommit import Observer

    from allocation.config import Settings


def find_subjects(email: str) -> SubjectQuery:
    """Return a query for the user with this e-mail address, whose traces an operator wants.

    :raises InvalidValue: if it is not an e-mail address
    """
    from allocation import views
    from allocation.domain.values import EmailAddress

    return partial(views.holders_of, address=EmailAddress(email))


def reporter(settings: Settings) -> Observer:
    """Return an observer that prints what happens on the console."""
    import click
    from aftercommit.extensions.console_reporter import ConsoleReporter

    from allocation.bootstrap import describe

    return ConsoleReporter(click.echo, describe=describe)


APP: App[Settings] = App(
    "allocation",
    summary="Register users, and give each of them a welcome e-mail and a coupon.",
    handlers="allocation.service_layer.handlers:HANDLERS",
    codec="allocation.bootstrap:CODEC",
    history="allocation.adapters.migrations:HISTORY",
    settings="allocation.config:Settings",
    open="allocation.bootstrap:bootstrap",
    database_url="sqlite:///allocation.db",
    reporter=reporter,
    extensions=[
        PostgreSQLExtension(),
        SmtpExtension("notifications"),
        BrokersExtension("allocation.entrypoints.broker_messages"),
        OperationsExtension(find_subjects, form={"format": "idn-email"}),
        MetricsExtension(),
        OtelExtension(),
        WebExtension("allocation.entrypoints.http.routes"),
        PageExtension(),
    ],
    page_scripts=["/register-form.js"],
    commands={
        "Use": {
            "allocation.entrypoints.commands:register_user": (
                "Register a user; a welcome e-mail and a coupon follow."
            ),
            "allocation.entrypoints.commands:change_email": (
                "Change a user's e-mail address, and notify the old one."
            ),
            "allocation.entrypoints.commands:add_coupon_batch": (
                "Make QUANTITY more welcome coupons available."
            ),
            "allocation.entrypoints.commands:redeem_coupon": "Redeem the coupon with CODE.",
            "allocation.entrypoints.commands:users": "List all users with their coupons.",
            "allocation.entrypoints.commands:coupon_batches": (
                "List the coupon batches, and how many coupons are left."
            ),
            "allocation.entrypoints.demo:demo": "Execute some commands in a temporary database.",
            "allocation.entrypoints.commands:import_users": "Register the users of a CSV file.",
        },
        "Maintain": {
            "allocation.entrypoints.maintenance:rebuild_users": (
                "Rebuild the list of users from the stored users."
            ),
            "allocation.entrypoints.maintenance:erase_user": (
                "Erase the name and all addresses of a user, for good."
            ),
            "allocation.entrypoints.maintenance:show_user": (
                "Print everything that is stored about a user, as JSON."
            ),
        },
    },
)
cli = command_line(APP)
