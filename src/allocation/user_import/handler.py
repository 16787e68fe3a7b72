"""The use case: one transaction for the rows of one command."""

from allocation.service_layer.unit_of_work import UnitOfWork
from allocation.user_import.model import ImportUsers, UserList, UsersImported


async def import_users(command: ImportUsers, uow: UnitOfWork) -> None:
    """Register the users of a list with one commit."""
    listed, import_id = UserList(command.rows), command.import_id
    new_users = listed.register(await uow.users.find_by_email(listed.emails))
    if count := len(new_users):
        event = UsersImported(import_id=import_id, registered=count, refused=listed.refused)
        uow.record(event, subject=import_id)
    for user in new_users:
        uow.users.add(user)
