"""A broker in the world: what another service publishes, and what becomes of it here.

It does what brokers do to a subscriber: messages come in any order, and again, whenever a
connection is lost or a process dies before it has acknowledged them; a publisher sends some of them
twice; and an operator sets the subscription back, so that all come once more. What a process does
with them is the engine's: its consumer, its inbox, its dead letters.

Checked are: a message is acknowledged when its command is committed, or when it is a dead letter,
and not before. However often it comes, it takes effect once, and with its event. In the end, none
is missing. The sender of a command is told what has become of it.
"""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from aftercommit_tests.inside.brokers import (
    Answers,
    Broker,
    Channels,
    Consumer,
    Inbound,
    Inlet,
    Intake,
    MessageHandler,
    OutgoingCommand,
    PausedSubscriptions,
    ReceivedMessage,
    Report,
    Subscription,
    cloud_events,
)
from aftercommit_tests.inside.errors import BrokerUnavailable
from aftercommit_tests.inside.stored import inbox
from aftercommit_tests.inside.web import BoundedDispatch

from simulation import shop
from simulation.faults import Faults
from simulation.world import Process, World

if TYPE_CHECKING:
    from simulation.ledger import Ledger
    from simulation.simulation import ShopProcess

PREFETCH = 5
DISPATCHES = 1  # at a time: the others are left to workers
MAX_ATTEMPTS = 3  # of a message that meets a bug
TWICE, POISONED, OF_NO_CONCERN, REUSED = 0.2, 0.1, 0.1, 0.1  # how many messages are so
OFTEN = 8  # times as often as a connection to the database, one to the broker is lost

PAYMENTS = "SELECT payment, amount FROM payments ORDER BY number"

Query = Callable[[str], Sequence[Any]]


class Message(NamedTuple):
    """What was published: its number, and what it says."""

    number: int
    body: bytes

    @property
    def says(self) -> tuple[int, int]:
        """The payment that it is about, and the amount; zeros, if it is not understood."""
        said = json.loads(self.body) if self.body[:1] == b"{" else {}
        said = said.get("data", said)
        return said.get("payment", 0), said.get("amount", 0)


def payment_received(message: Inbound) -> shop.TakePayment | None:
    """Translate what the bank publishes."""
    said = message.data(dict[str, int])
    return shop.TakePayment(said["payment"], said["amount"]) if said["amount"] else None


SUBSCRIPTION = Subscription(
    "bank",
    payment_received,
    exchange="bank.events",
    message_id=lambda message: message.data(dict[str, int])["payment"],
)

SOURCE = SUBSCRIPTION.source
BANK, TILL = SUBSCRIPTION.inlet("shop").queue or "", Channels("shop").commands


def of_bank(payment: int, amount: int) -> bytes:
    """Return what the bank publishes, in a form of its own."""
    return json.dumps({"payment": payment, "amount": amount}).encode()


def of_till(payment: int, amount: int) -> bytes:
    """Return a command, as other services send them to us."""
    said = {"specversion": "1.0", "id": f"{payment}", "source": "/till", "type": "take_payment"}
    return json.dumps({**said, "data": {"payment": payment, "amount": amount}}).encode()


class Queue:
    """The messages of the bank, or commands of a till, and who has which of them."""

    def __init__(
        self, name: str, make: Callable[[int, int], bytes], world: World, faults: Faults
    ) -> None:
        self.name, self._make, self.world, self.faults = name, make, world, faults
        self.answers: dict[str, list[str]] = defaultdict(list)  # by the numbers of messages
        self.unanswered = 0  # messages whose senders could not be told, as observers know
        self._messages, self._last = list[Message](), 0
        self._waiting = list[Message]()
        self._done = list[Message]()  # acknowledged
        self._connections = list[Connection]()
        self._dead = Counter[bytes]()  # bodies
        self.troubled: Collection[int] = ()  # payments that a handler has failed to take
        self.known: Counter[tuple[int, int]] = Counter()  # effects, by what messages have said

    @property
    def dead_letters(self) -> str:
        """Where its dead letters go."""
        return f"{self.name}.dead"

    @property
    def wants_answers(self) -> bool:
        """Whether its sender is told what has become of a message."""
        return self.name == TILL

    def publish(self, payment: int) -> None:
        """Publish a message about a payment, perhaps twice, or one that nobody understands."""
        world, body = self.world, self._make(payment, 10 * payment)
        if world.chance(POISONED):
            body = b"not what was agreed on %d" % payment
        elif not self.wants_answers and world.chance(OF_NO_CONCERN):
            body = self._make(payment, 0)
        message = Message(payment, body)
        self._messages.append(message)
        self._waiting += [message] * (1 + world.chance(TWICE))
        if self._last and world.chance(REUSED):
            self._messages.append(Message(payment, self._make(self._last, 7)))
            self._waiting.append(self._messages[-1])
        self._last = payment
        world.story.tell(self.name, f"publishes {body.decode()}")
        self.pass_on()

    def set_back(self) -> None:
        """Let all that was acknowledged come again, as after a restore of the broker."""
        self.world.story.tell(self.name, f"{len(self._done)} messages COME AGAIN")
        self._waiting += self._done
        self._done.clear()
        self.pass_on()

    def pass_on(self) -> None:
        """Send what waits to those who have room for it, in any order."""
        random = self.world.random
        while self._waiting and (there := [each for each in self._connections if each.has_room]):
            random.choice(there).send(self._waiting.pop(random.randrange(len(self._waiting))))

    def join(self, connection: "Connection") -> None:
        """Send messages to one more process."""
        self._connections.append(connection)
        self.pass_on()

    def leave(self, connection: "Connection", has: Sequence[Message]) -> None:
        """Take back what a connection had not acknowledged."""
        self._connections.remove(connection)
        self._waiting += has
        self.pass_on()

    def acknowledged(self, message: Message) -> None:
        """Check that a message may be forgotten."""
        self._done.append(message)
        if not self._is_settled(message):
            self.world.fail(f"message {message} is acknowledged, and had no effect")
        if self.wants_answers and not self.answers[str(message.number)]:
            self.unanswered -= 1
            if self.unanswered >= 0:
                return
            self.world.fail(f"message {message} is acknowledged, and its sender is told nothing")

    def answered(self, number: str, what: str) -> None:
        """Check that a sender is told what is so."""
        self.answers[number].append(what)
        its = [each for each in self._messages if str(each.number) == number]
        is_so = {
            "command_accepted": any(self.known[each.says] for each in its),
            "command_refused": any(self._dead[each.body] for each in its),
        }
        if what in is_so and not is_so[what]:
            self.world.fail(f"the sender of message {number} is told {what}, and it is not so")

    def dead_lettered(self, body: bytes, reason: str) -> None:
        """Check that a message could not have had its effect."""
        self._dead[body] += 1
        message = next(each for each in self._messages if each.body == body)
        self.world.story.tell(self.name, f"{body.decode()} is a dead letter: {reason}")
        payment, _ = message.says
        others = {each.body for each in self._messages if each.says[0] == payment} - {body}
        is_reused = reason == "MessageIdReused" and others
        if payment and not (payment in self.troubled or is_reused):
            self.world.fail(f"message {message} is a dead letter: {reason}")

    def _is_settled(self, message: Message) -> bool:
        payment, amount = message.says
        is_of_no_concern = payment and not amount
        return bool(is_of_no_concern or self._dead[message.body] or self.known[message.says])

    @property
    def is_done(self) -> bool:
        """Whether all messages are acknowledged."""
        return not self._waiting and all(each.is_idle for each in self._connections)

    def check_end(self) -> None:
        """Check that no message is lost."""
        for message in self._messages:
            if not self._is_settled(message):
                self.world.fail(f"message {message} is lost")
            if message.says == (0, 0) and not self._dead[message.body]:
                self.world.fail(f"message {message} is no dead letter")


class Messages:
    """What comes from outside: what the bank publishes, and what a till sends."""

    def __init__(self, world: World, faults: Faults, query: Query, breaks: float) -> None:
        self._world, self._faults, self._query, self._breaks = world, faults, query, breaks
        self._bank = Queue(BANK, of_bank, world, faults)
        self._till = Queue(TILL, of_till, world, faults)
        self.queues = {self._bank.name: self._bank, self._till.name: self._till}
        self.ledger: Ledger

    def follow(self, ledger: "Ledger", troubled: Collection[int]) -> None:
        """Know what is paused, and the payments that a handler has failed to take."""
        self.ledger, self._bank.troubled, self._till.troubled = ledger, troubled, troubled

    def publish(self, payment: int) -> None:
        """Let somebody pay."""
        (self._till if self._world.chance(0.4) else self._bank).publish(payment)

    def set_back(self) -> None:
        """Let everything come again."""
        for each in self.queues.values():
            each.set_back()

    def loses_connection(self) -> bool:
        """Draw whether a connection is lost just when something is sent over it."""
        return self._faults.happens(self._breaks * OFTEN)

    def handled(self, outcome: str) -> None:
        """Note what observers are told about a message."""
        self._till.unanswered += outcome == "unanswered"

    def check(self, types: Collection[str], *, forgets: bool) -> None:
        """Check after a commit that each payment has its effect once, and its event with it."""
        found = Counter((payment, amount) for payment, amount in self._query(PAYMENTS))
        times = Counter(payment for payment, _ in found.elements())
        for payment, _ in found - self._bank.known:
            if times[payment] > 1 and not forgets:
                self._world.fail(f"payment {payment} is taken {times[payment]} times")
        self._bank.known = self._till.known = found
        if (number := [*types].count("payment_taken")) != found.total():
            told = f"{number} events of payments are stored"
            self._world.fail(f"{told}, and {found.total()} are taken")

    @property
    def are_done(self) -> bool:
        """Whether all of them are acknowledged."""
        return all(each.is_done for each in self.queues.values())

    def check_end(self) -> None:
        """Check that none is lost."""
        for each in self.queues.values():
            each.check_end()


class Connection:
    """What a process has of the queue, as the broker sees it."""

    def __init__(self, messages: Messages, queue: Queue, process: Process) -> None:
        self._messages, self._queue, self._process = messages, queue, process
        self._has = list[Message]()
        self._arrived = asyncio.Queue[Message | None]()
        self.is_lost = False

    @property
    def has_room(self) -> bool:
        """Whether it may be sent one more."""
        return len(self._has) < PREFETCH

    @property
    def is_idle(self) -> bool:
        """Whether it has acknowledged all it was sent."""
        return not self._has

    def send(self, message: Message) -> None:
        """Send the process a message, which is on its way for a while."""
        self._has.append(message)
        self._queue.world.soon(partial(self._arrived.put_nowait, message), self._process)

    def drop(self) -> None:
        """End with the process, or be lost: all that is not acknowledged comes again."""
        if not self.is_lost:
            self.is_lost = True
            self._queue.leave(self, self._has)

    def break_off(self) -> None:
        """Be lost; the process hears of it."""
        self.drop()
        self._queue.world.soon(partial(self._arrived.put_nowait, None), self._process)

    async def received(self) -> AsyncGenerator[ReceivedMessage]:
        """Yield what has arrived, until it is lost."""
        while message := await self._arrived.get():
            seconds = self._messages.ledger.knows_pause(self._process, SOURCE)
            if seconds and self._queue.name == BANK:
                told = f"{self._process} takes message {message}"
                self._queue.world.fail(f"{told}, and the bank is paused for {seconds:.1f} s")
            ack = partial(self._acknowledge, message)
            said = {"correlation_id": str(message.number), "reply_to": "till.answers"}
            properties = said if self._queue.wants_answers else {}
            yield ReceivedMessage(body=message.body, headers={}, properties=properties, ack=ack)
        raise ConnectionError("the connection was lost")

    async def _acknowledge(self, message: Message) -> None:
        world, arrives = self._queue.world, True
        await asyncio.sleep(world.random.expovariate(1 / world.latency))
        if not self.is_lost and self._messages.loses_connection():
            arrives = world.chance(0.5)
            moment = "after" if arrives else "before"
            world.story.tell(self._process, f"LOSES THE BROKER {moment} an acknowledgement")
            if arrives:
                self._forget(message)
            self.break_off()
        if self.is_lost:
            raise ConnectionError("the connection was lost")
        self._forget(message)
        self._queue.pass_on()

    def _forget(self, message: Message) -> None:
        self._has.remove(message)
        self._queue.acknowledged(message)


class WorldBroker:
    """The broker, as a process knows it."""

    kind = "broker"
    channels = Channels("shop")

    def __init__(self, messages: Messages, process: Process) -> None:
        self._messages, self._process = messages, process

    def feeds(self, inlet: Inlet) -> bool:
        """Everything comes from here."""
        return True

    @asynccontextmanager
    async def consume(
        self, inlet: Inlet, prefetch: int, report: Report
    ) -> AsyncIterator[AsyncGenerator[ReceivedMessage]]:
        """Open a connection."""
        queue = self._messages.queues[inlet.queue or ""]
        connection = Connection(self._messages, queue, self._process)
        self._process.connections.append(connection)
        queue.join(connection)
        try:
            yield connection.received()
        finally:
            connection.drop()
            self._process.connections.remove(connection)

    async def dead_letter(self, message: ReceivedMessage, error: Exception, to: str) -> None:
        """Keep what cannot be handled, unless the connection is lost just then."""
        self._lose_perhaps()
        queue = next(each for each in self._messages.queues.values() if to == each.dead_letters)
        queue.dead_lettered(message.body, type(error).__name__)

    async def send_command(self, command: OutgoingCommand) -> None:
        """Take an answer to the till, unless the connection is lost just then."""
        number, what = command.correlation_id or "", json.loads(command.body)["type"]
        till = self._messages.queues[TILL]
        self._lose_perhaps()
        till.answered(number, what)

    def _lose_perhaps(self) -> None:
        if self._messages.loses_connection():
            raise BrokerUnavailable(self.kind, "the connection was lost")


async def consume(messages: Messages, process: "ShopProcess") -> None:
    """Consume what the bank publishes, and what the till sends, as a consumer's process does."""
    application, name = process.application, "shop"
    handler = MessageHandler(
        application.bus,
        partial(inbox.accepted_command, application.database),
        BoundedDispatch(application.bus, DISPATCHES),
        Answers(name, ["till.answers"], partial(inbox.events_of_command, application.database)),
        max_attempts=MAX_ATTEMPTS,
    )
    codec, accepted = application.database.codec, {"take_payment": shop.TakePayment}
    ours = partial(cloud_events.from_cloud_event, codec=codec, accepted=accepted)
    bank, till = SUBSCRIPTION.inlet(name), Channels(name).inlet
    intakes = [
        Intake(inlet=bank, read=SUBSCRIPTION.read, source=SUBSCRIPTION.source),
        Intake(inlet=till, read=lambda message: ours(message.body)),
    ]
    consumer = Consumer(
        handler,
        intakes,
        process.shutdown,
        {},
        {},
        PausedSubscriptions(application.database),
        prefetch=PREFETCH,
    )
    await consumer.run([cast("Broker", WorldBroker(messages, process))])
