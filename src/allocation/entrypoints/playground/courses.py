"""How far an experiment is, and what was found, in the database and the inbox."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from anyio import sleep

from allocation.adapters.playground.views import DeliveryRow
from allocation.entrypoints.playground.mail import Received

PACE_SECONDS = 0.7
LOOK_SECONDS = 3.0  # where there is something to read


@dataclass(slots=True)
class Course:
    """One run of an experiment. Each fact is as it was promised, or not."""

    state: str = "idle"  # running, kept, broken
    passed: list[str] = field(default_factory=list)  # steps that have begun, the last is under way
    story: str | None = None  # what to look at
    facts: list[dict[str, object]] = field(default_factory=list)

    async def goes_on(self, step: str, *, seconds: float = PACE_SECONDS) -> None:
        """Begin a step, at a pace that people can follow."""
        self.passed.append(step)
        await sleep(seconds)

    def found(self, fact: str, *, is_so: bool, **values: object) -> None:
        """Note a fact, with the values that were read."""
        self.facts.append({"name": fact, "is_so": is_so, "values": values})

    def found_another_owner(self, before: DeliveryRow, after: DeliveryRow) -> None:
        """Note that another process has done it, with a later token."""
        is_so = after.owner != before.owner and after.token > before.token
        values = {"first": before.owner, "token": before.token}
        self.found("owner", is_so=is_so, **values, second=after.owner, next_token=after.token)

    def found_one_email(self, emails: Sequence[Received], delivery: DeliveryRow) -> None:
        """Note that one e-mail has arrived, with the Message-ID that each attempt gives it."""
        expected = f"<{delivery.event_id}.{delivery.handler}@allocation>"
        ids = [email.message_id for email in emails]
        self.found("one_email", is_so=ids == [expected], count=len(ids))

    def found_one_each(self, counts: Sequence[int]) -> None:
        """Note that each of some users has got one e-mail."""
        self.found("emails_once", is_so={*counts} == {1}, count=sum(counts))

    def end(self) -> None:
        """Come to the verdict."""
        self.state = "kept" if all(fact["is_so"] for fact in self.facts) else "broken"
