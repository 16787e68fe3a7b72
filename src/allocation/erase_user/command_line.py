"""The command `erase-user`."""

from pathlib import Path
from uuid import UUID

import click
from aftercommit import Application, CommandLine
from aftercommit.extensions.operations.cli_parts import decided, is_wanted
from aftercommit.extensions.operations.decisions import Decision
from aftercommit.extensions.operations.redaction import handlers_with_effects
from aftercommit.process.printing import pluralize

from allocation.config import Settings
from allocation.domain.events import UserId
from allocation.erase_user.erasure import erase, find_person
from allocation.erase_user.kept_emails import remove_emails


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
    person = cli.run(settings, lambda a: find_person(a.database, user_id))
    outstanding = pluralize(person.outstanding, "outstanding delivery", "outstanding deliveries")
    events = pluralize(len(person.event_ids), "event", "events")
    click.echo(f"user {user_id}: {events}, {outstanding}; this cannot be undone")
    if not is_wanted(1, yes=yes):
        return
    folder, kept = settings.mail_folder, 0
    if folder:  # both times: until it is erased, more may come
        kept += remove_emails(Path(folder), person)

    async def work(application: Application) -> int:
        effects = handlers_with_effects(application)
        return await erase(application.database, user_id, effects, decision)

    discarded = cli.run(settings, work)
    if folder:
        kept += remove_emails(Path(folder), person)
    emails = pluralize(kept, "kept e-mail", "kept e-mails")
    click.echo(f"erased, with {emails}; {pluralize(discarded)} discarded")
