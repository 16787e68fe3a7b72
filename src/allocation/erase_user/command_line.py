"""The command `erase-user`."""

from functools import partial
from uuid import UUID

import click
from aftercommit import Application, CommandLine
from aftercommit.extensions.operations.cli_parts import decided, is_wanted
from aftercommit.extensions.operations.decisions import Decision
from aftercommit.extensions.operations.erasing_events import handlers_with_effects
from aftercommit.extensions.smtp.maildir import remove_emails
from aftercommit.extensions.smtp.settings import mail_folder
from aftercommit.terminal.printing import pluralize
from anyio import to_thread

from allocation.config import Settings
from allocation.domain.events import UserId
from allocation.erase_user.erasure import Person, comparable, erase, find_person


@click.command()
@click.argument("user_id", type=click.UUID)
@click.option("--yes", is_flag=True, help="Do not ask.")
@decided
@click.pass_obj
def erase_user(cli: CommandLine[Settings], user_id: UUID, yes: bool, decision: Decision) -> None:
    """Erase the name and all addresses of a user, for good.

    They are erased from the database and from the folder of e-mails that are kept; what happened,
    and when, stays. E-mails that are still to be sent are discarded. Logs, backups, e-mails that
    were sent and other services keep what they have. Running the command again does no harm.
    """
    settings, user_id = cli.load_settings(), UserId(user_id)
    found = cli.run(settings, lambda a: find_person(a.database, user_id))
    outstanding = pluralize(found.outstanding, "outstanding delivery", "outstanding deliveries")
    events = pluralize(len(found.event_ids), "event", "events")
    click.echo(f"user {user_id}: {events}, {outstanding}; this cannot be undone")
    if not is_wanted(1, yes=yes):
        return

    async def remove(person: Person) -> int:
        if (folder := mail_folder(settings)) is None:
            return 0
        ids, to = person.event_ids, person.addresses
        removing = partial(remove_emails, folder, of_events=ids, to=to, comparable=comparable)
        return await to_thread.run_sync(removing)

    async def work(application: Application) -> tuple[int, int]:
        database, effects = application.database, handlers_with_effects(application)
        # looked up again: the user may have another address since the question was asked;
        # and removed both times: until it is erased, more may come, and then no address is known
        kept = await remove(await find_person(database, user_id))
        person, discarded = await erase(database, user_id, effects, decision)
        return kept + await remove(person), discarded

    kept, discarded = cli.run(settings, work)
    emails = pluralize(kept, "kept e-mail", "kept e-mails")
    click.echo(f"erased, with {emails}; {pluralize(discarded)} discarded")
