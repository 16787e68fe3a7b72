"""The application itself, with its own handlers; only e-mails go where those of the others go."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

from aftercommit import Application, IdempotencyKey
from anyio import create_task_group, sleep
from trying import AGAIN, OLD, USER, Change, send_notice, tried

from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.domain.commands import ChangeEmail, RegisterUser
from allocation.domain.events import UserId
from allocation.entrypoints.app import APP
from allocation.service_layer.emails import Email

USER_ID = UserId(UUID(USER))


class Notices:
    """Takes e-mails: only the notice of a change counts."""

    async def send(self, email: Email, *, idempotency_key: IdempotencyKey) -> None:
        if "changed" in email.subject:
            send_notice(email.recipient)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Change]:
    url = f"sqlite:///{folder}/allocation.db"
    settings = Settings(database_url=url, lease_seconds=1.0, handler_timeout_seconds=0.8)
    async with (
        bootstrap(APP, settings, notifications=Notices()) as application,
        create_task_group() as group,
    ):

        async def change(new: str) -> None:
            await application.bus.handle(ChangeEmail(user_id=USER_ID, new_email=new))

        if AGAIN:
            group.start_soon(work, application)
        else:
            await application.bus.handle(RegisterUser(user_id=USER_ID, name="Иван", email=OLD))
        yield change
        group.cancel_scope.cancel()


async def work(application: Application) -> None:
    """Do what is due, as a worker does."""
    while True:
        await application.bus.run(
            await application.bus.delivery_store.claim(10, application.handlers)
        )
        await sleep(0.05)


if __name__ == "__main__":
    tried(opened)
