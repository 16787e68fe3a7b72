"""The commands with which operators maintain what is stored about users."""

from functools import partial
from uuid import UUID

import click
from aftercommit import Application, CommandLine
from aftercommit.extensions.operations.batched_transactions import count_rows
from aftercommit.extensions.operations.cli_parts import (
    decided,
    is_wanted,
    progress,
    with_application,
)
from aftercommit.extensions.operations.decisions import Decision
from aftercommit.extensions.operations.erasing_persons import Traces, erase, look_for
from aftercommit.extensions.operations.shown_persons import show
from aftercommit.extensions.smtp.maildir import remove_emails
from aftercommit.extensions.smtp.settings import mail_folder
from aftercommit.terminal.printing import json_line, pluralize
from anyio import to_thread

from allocation import views
from allocation.adapters.rebuilding import ALL_USERS, rebuild
from allocation.adapters.stored_user import StoredUser, comparable
from allocation.config import Settings
from allocation.domain.bases import InvalidValue
from allocation.domain.events import UserId
from allocation.domain.values import EmailAddress

NOT_DONE = "the user was erased"


@click.command()
@with_application
async def rebuild_users(application: Application) -> None:
    """Rebuild the list of users from the stored users.

    Other commands may run meanwhile. No events are needed, so they may have been pruned.
    """
    with progress("rebuilding", await count_rows(application.database, ALL_USERS)) as advance:
        count = await rebuild(application.database, advance)
    click.echo(f"{pluralize(count, 'user', 'users')} rebuilt")


@click.command()
@click.argument("user_id", type=click.UUID)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@decided
@click.pass_obj
def erase_user(cli: CommandLine[Settings], user_id: UUID, yes: bool, decision: Decision) -> None:
    """Erase the name and all addresses of a user, for good.

    They are erased from the database and from the folder of kept e-mails; what happened, and when,
    remains. E-mails still to be sent are discarded. Logs, backups, sent e-mails and other services
    are not changed. Running the command again does no harm.
    """
    settings, user = cli.load_settings(), StoredUser(UserId(user_id))
    traces, count = cli.run(settings, lambda a: look_for(a.database, user))
    outstanding = pluralize(count, "outstanding delivery", "outstanding deliveries")
    events = pluralize(len(traces.events), "event", "events")
    click.echo(f"user {user_id}: {events}, {outstanding}; this cannot be undone")
    if is_wanted(1, yes=yes):
        remove = partial(remove_kept, settings)
        erasing = partial(erase, person=user, reason=NOT_DONE, decision=decision, remove=remove)
        kept, discarded = cli.run(settings, erasing)
        emails = pluralize(kept, "kept e-mail", "kept e-mails")
        click.echo(f"erased, with {emails}; {pluralize(discarded)} discarded")


@click.command()
@click.argument("email")
@decided
@with_application
async def show_user(application: Application, email: str, decision: Decision) -> None:
    """Print everything that is stored about the user with this e-mail address, as JSON.

    That somebody has looked is stored as a decision. What is not searched, such as backups
    and sent e-mails, is named. All events are read.
    """
    if not (found := await views.holders_of(application.database, EmailAddress(email))):
        raise InvalidValue("the e-mail address", "is that of no user")
    [user_id] = found
    shown = await show(application, StoredUser(user_id), f"user {user_id}", decision)
    click.echo(json_line(shown))


async def remove_kept(settings: Settings, traces: Traces) -> int:
    """Remove the e-mails to a user that are kept in a folder; return how many there were."""
    if (folder := mail_folder(settings)) is None:
        return 0
    ids, to = traces.event_ids, traces.own
    removing = partial(remove_emails, folder, of_events=ids, to=to, comparable=comparable)
    return await to_thread.run_sync(removing)
