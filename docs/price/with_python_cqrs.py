"""python-cqrs: a mediator for commands and their events; the database is the application's."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import cqrs
import di
from cqrs.bootstrap import requests
from trying import OLD, USER, Change, send_notice, tried

SELECT, UPDATE = "SELECT email FROM users WHERE id = ?", "UPDATE users SET email = ? WHERE id = ?"
connection: sqlite3.Connection


# begin
class EmailChanged(cqrs.DomainEvent):
    user_id: str
    old_email: str
    new_email: str


class ChangeEmail(cqrs.Request[None]):
    user_id: str
    new_email: str


class ChangeEmailHandler(cqrs.RequestHandler[ChangeEmail]):
    def __init__(self) -> None:
        self._events: list[cqrs.DomainEvent] = []

    @property
    def events(self) -> list[cqrs.DomainEvent]:
        return self._events

    async def handle(self, request: ChangeEmail) -> None:
        with connection:
            (old,) = connection.execute(SELECT, (request.user_id,)).fetchone()
            connection.execute(UPDATE, (request.new_email, request.user_id))
        self._events.append(EmailChanged(request.user_id, old, request.new_email))


class SendNotice(cqrs.EventHandler[EmailChanged]):
    async def handle(self, event: EmailChanged) -> None:
        send_notice(event.old_email)


def commands(mapper: cqrs.RequestMap) -> None:
    mapper.bind(ChangeEmail, ChangeEmailHandler)


def domain_events(mapper: cqrs.EventMap) -> None:
    mapper.bind(EmailChanged, SendNotice)


# end


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Change]:
    global connection
    with closing(sqlite3.connect(folder / "cqrs.db")) as connection:
        connection.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
            "CREATE TABLE IF NOT EXISTS users (id TEXT PRIMARY KEY, email TEXT UNIQUE);"
            f"INSERT OR IGNORE INTO users VALUES ('{USER}', '{OLD}')"
        )
        mediator = requests.bootstrap(
            di_container=di.Container(),
            commands_mapper=commands,
            domain_events_mapper=domain_events,
        )

        async def change(new: str) -> None:
            await mediator.send(ChangeEmail(user_id=USER, new_email=new))

        yield change


if __name__ == "__main__":
    tried(opened)
