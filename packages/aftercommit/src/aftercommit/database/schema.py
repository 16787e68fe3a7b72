"""The schema of the database: checked at start, created at first use, upgraded by hand."""

import logging
from collections.abc import Callable
from functools import partial
from io import SEEK_END, StringIO

from sqlalchemy import Connection, insert, inspect, select

from aftercommit.database.aggregate_versions import ensure_usable
from aftercommit.database.database import Database
from aftercommit.database.exceptions import SchemaOfAnother, SchemaOutdated
from aftercommit.database.metadata import application as owner_table
from aftercommit.database.migrations.history import lacking
from aftercommit.database.migrations.upgrade import upgrade_histories
from aftercommit.database.transaction import Transaction
from aftercommit.errors import raise_if_any

UNMADE = "the program knows columns that no migration has made; write one for"

logger = logging.getLogger(__name__)


async def ensure_schema(
    database: Database,
    *,
    new_uow: Callable[[Transaction], object] | None = None,
    beside_others: bool = False,
) -> None:
    """Create the schema in an empty database; otherwise check that it is current, and ours.

    Tables made by a migration of the application belong to the application that starts first.

    `new_uow` makes the unit of work of handlers. One is made to check its aggregates.

    With `beside_others`, the schema may also be created next to tables that an application manages
    itself; without it, they are taken as a sign of a wrong URL.

    :raises SchemaOutdated: if it has to be upgraded first
    :raises SchemaTooNew: if it was made by a newer version of this program
    :raises SchemaTooOld: if it was made by a draft, before the first version
    :raises SchemaOfAnother: if it contains another application's tables
    :raises DatabaseUnavailable: if its tables belong to another program
    :raises WiringError: if the program knows columns that no migration has made, if the unit of
        work cannot be made, or if an aggregate of its repositories is not mapped

    >>> import anyio
    >>> from aftercommit import ensure_schema
    >>> from shop.adapters.repositories import unit_of_work
    >>> from shop.entrypoints.app import APP
    >>> async def main():
    ...     async with APP.open_database(APP.load({})) as database:
    ...         await ensure_schema(database, new_uow=unit_of_work)
    >>> anyio.run(main)
    """
    async with database.read_transaction() as transaction:
        if new_uow:
            ensure_usable(new_uow, transaction)
        for sentence in (await transaction.run_sync(database.backend.shortcomings)).values():
            logger.warning("%s", sentence)
        found = await transaction.run_sync(partial(_check, database, beside_others))
        owner = await transaction.run_sync(partial(owner_of, database.application))
    if not found:
        await upgrade_schema(database)
        await _revisions(database, beside_others=beside_others)  # its columns
    elif owner is None:
        async with database.write_transaction() as transaction:
            await transaction.run_sync(partial(_own, database))
            await transaction.commit()
    if advance := database.backend.advance_positions:
        async with database.write_transaction() as transaction:
            for statement in advance:
                await transaction.execute(statement)
            await transaction.commit()


async def check_schema(database: Database) -> list[str]:
    """Return the revisions of the schema, if this program can work with them.

    :raises SchemaOutdated: if it has to be created or upgraded first; for other errors see above
    """
    if not (found := await _revisions(database, beside_others=False)):
        raise SchemaOutdated(database.histories[0].name, "none", database.program)
    return found


async def _revisions(database: Database, *, beside_others: bool) -> list[str]:
    async with database.read_transaction() as transaction:
        return await transaction.run_sync(partial(_check, database, beside_others))


async def upgrade_schema(database: Database) -> None:
    """Upgrade the schema to the newest revisions, in one transaction; others wait meanwhile.

    :raises Unavailable: if the database cannot store every name of a user
    :raises SchemaTooNew: if it was made by a newer version of this program
    :raises SchemaTooOld: if it was made by a draft, before the first version
    :raises SchemaOfAnother: if it contains another application's tables
    :raises DatabaseUnavailable: if its tables belong to another program
    """
    async with database.write_transaction(no_timeout=True) as transaction:
        await transaction.run_sync(partial(_upgrade, database))
        await transaction.commit()


async def upgrade_script(database: Database) -> str:
    """Return the statements that `upgrade_schema` would execute, for somebody else to execute."""
    async with database.read_transaction() as transaction:
        stored = await transaction.run_sync(
            lambda connection: [each.stored_revision(connection) for each in database.histories]
        )
    output = StringIO("BEGIN;\n\n")
    output.seek(0, SEEK_END)
    for history, revision in zip(database.histories, stored, strict=True):
        if (revision or "") < history.newest:
            history.print_upgrade(output, database.engine.dialect.name, revision)
    return f"{output.getvalue()}COMMIT;"


def _check(database: Database, beside_others: bool, connection: Connection) -> list[str]:
    """Return the revisions, after checking them; none if tables have to be created."""
    if not inspect(connection).get_table_names():  # first, as others may create the tables now
        return []
    owner_of(database.application, connection)
    # all of them first: if one is too new, or of another program, no upgrade would help
    stored = [(history, history.stored_revision(connection)) for history in database.histories]
    if beside_others and [revision for _, revision in stored] == [None]:
        return []
    for history, revision in stored:
        if (revision or "") < history.newest:
            raise SchemaOutdated(history.name, revision, database.program)
    # a later schema's revision allows this program to work with it
    known = [history for history, revision in stored if (revision or "") == history.newest]
    raise_if_any(UNMADE, lacking(connection, known))
    return [revision for _, revision in stored if revision]


def _upgrade(database: Database, connection: Connection) -> None:
    database.backend.begin_upgrade(connection)
    database.backend.prepare_upgrade(connection)
    owner_of(database.application, connection)
    upgrade_histories(connection, database.histories)
    database.backend.ensure_references(connection)
    _own(database, connection)


def _own(database: Database, connection: Connection) -> None:
    """Store whose schema this is. If two begin at once, the second waits and is refused."""
    database.backend.prepare_upgrade(connection)
    if owner_of(database.application, connection) is None:
        connection.execute(insert(owner_table).values(name=database.application))


def owner_of(application: str, connection: Connection) -> str | None:
    """Return whose schema this is; None if it is nobody's yet.

    :raises SchemaOfAnother: if it belongs to another application
    """
    if not inspect(connection).has_table(owner_table.name):
        return None
    owner = connection.execute(select(owner_table.c.name)).scalar()
    if owner not in (None, application):
        raise SchemaOfAnother(owner, application)
    return owner
