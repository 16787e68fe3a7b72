"""This application, as the engine starts it: its parts, each imported when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aftercommit import App, command_line

from allocation.extension_list import EXTENSIONS

if TYPE_CHECKING:
    from aftercommit import Observer

    from allocation.config import Settings


def reporter(settings: Settings) -> Observer:
    """Return an observer that prints on the console what happens."""
    import click
    from aftercommit.extensions.console_reporter import ConsoleReporter
    from aftercommit.extensions.smtp.settings import mail_folder

    from allocation.entrypoints.console_texts import MESSAGES

    folder = mail_folder(settings)
    words = {"sent": "" if folder else " sent", "kept": f" kept in {folder}" if folder else ""}
    return ConsoleReporter(click.echo, MESSAGES, application=APP.name, words=words)


APP: App[Settings] = App(
    "allocation",
    summary="Register users, and give each of them a welcome e-mail and a coupon.",
    handlers="allocation.service_layer.handlers:HANDLERS",
    codec="allocation.message_contract:CODEC",
    history="allocation.adapters.migrations:HISTORY",
    settings="allocation.config:Settings",
    open="allocation.bootstrap:bootstrap",
    database_url="sqlite:///allocation.db",
    reporter=reporter,
    extensions=EXTENSIONS,
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
            "allocation.entrypoints.rebuild_users:rebuild_users": (
                "Rebuild the list of users from the stored users."
            ),
            "allocation.entrypoints.erase_user:erase_user": (
                "Erase the name and all addresses of a user, for good."
            ),
        },
    },
)
cli = command_line(APP)
