"""Executes many commands with one commit, optimistically: for those that seldom are refused."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from allocation.adapters.operations.sharing import Sharing
from allocation.domain.commands import Command
from allocation.domain.events import UserId
from allocation.service_layer import facts
from allocation.service_layer.envelopes import Envelope, ReceivedMessage
from allocation.service_layer.messagebus import MessageBus


async def execute_all(
    bus: MessageBus,
    sharing: Sharing,
    commands: Sequence[Command],
    received: ReceivedMessage,
    *,
    users: Collection[UserId] = (),
) -> list[tuple[Envelope, ...]]:
    """Execute commands one after the other in one transaction: all of them, or none.

    Return the events that each has committed. Each has its own row, id and story, as if it had
    been executed alone. If one is refused, or cannot be written, so are all: execute them alone
    then. The users that they are about had better be named: they are loaded with one query.

    :raises AllocationError: as `MessageBus.execute`, for any of them
    :raises ConcurrentUpdate: if they do not go together, or others were faster
    :raises CommitOutcomeUnknown: if the connection was lost while committing them
    """
    executed: list[facts.Executed] = []

    def tell(fact: facts.Fact) -> None:
        match fact:
            case facts.Executed():  # not before the commit
                executed.append(fact)
            case facts.Ended(work):  # its error is told when it is executed alone
                facts.tell(bus.observers, facts.Ended(work, None))
            case _:
                facts.tell(bus.observers, fact)

    async with sharing.one_transaction(users=users) as new_uow:
        one_by_one = replace(bus, new_uow=new_uow, observers=[tell])
        events = [await one_by_one.execute(command, received) for command in commands]
    for fact in executed:
        facts.tell(bus.observers, fact)
    return events
