"""Protean: the same layers out of a framework; here it handles events in the call itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from protean import Domain, current_domain, handle
from protean.fields import Identifier, String
from trying import FOLDER, OLD, USER, Change, send_notice, tried

domain = Domain()
domain.config["databases"]["default"] = {
    "provider": "sqlite",
    "database_uri": f"sqlite:///{FOLDER}/protean.db",
}
domain.config["command_processing"] = domain.config["event_processing"] = "sync"


# begin
@domain.aggregate
class User:
    email: String(required=True)

    def change_email(self, new: str) -> None:
        self.raise_(EmailChanged(user_id=self.id, old_email=self.email, new_email=new))
        self.email = new


@domain.event(part_of=User)
class EmailChanged:
    user_id: Identifier(required=True)
    old_email: String(required=True)
    new_email: String(required=True)


@domain.command(part_of=User)
class ChangeEmail:
    user_id: Identifier(required=True)
    new_email: String(required=True)


@domain.command_handler(part_of=User)
class Users:
    @handle(ChangeEmail)
    def change_email(self, command: ChangeEmail) -> None:
        users = current_domain.repository_for(User)
        user = users.get(command.user_id)
        user.change_email(command.new_email)
        users.add(user)


@domain.event_handler(part_of=User)
class Notices:
    @handle(EmailChanged)
    def send(self, event: EmailChanged) -> None:
        send_notice(event.old_email)


# end


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Change]:
    domain.init(traverse=False)
    with domain.domain_context():
        domain.setup_database()
        if not domain.repository_for(User).query.all().total:
            domain.repository_for(User).add(User(id=USER, email=OLD))

        async def change(new_email: str) -> None:
            domain.process(ChangeEmail(user_id=USER, new_email=new_email))

        yield change


if __name__ == "__main__":
    tried(opened)
