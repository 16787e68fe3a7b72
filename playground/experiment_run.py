"""How far an experiment is, and what was found, in the database and the inbox."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from anyio import sleep

from playground.mail import Received
from playground.views import DeliveryRow

PACE_SECONDS = 0.7
LOOK_SECONDS = 3.0  # where there is something to read


@dataclass(slots=True)
class ExperimentRun:
    """One run of an experiment. Each fact is as it was promised, or not."""

    state: str = "idle"  # running, kept, broken
    passed: list[str] = field(default_factory=list)  # steps that have begun, the last is under way
    trace: str | None = None  # what to look at
    facts: list[dict[str, object]] = field(default_factory=list)

    async def step(self, step: str, *, seconds: float = PACE_SECONDS) -> None:
        """Begin a step, at a pace that people can follow."""
        self.passed.append(step)
        await sleep(seconds)

    def check(self, fact: str, *, is_so: bool, **values: object) -> None:
        """Note a fact, with the values that were read."""
        self.facts.append({"name": fact, "is_so": is_so, "values": values})

    def check_another_owner(self, before: DeliveryRow, after: DeliveryRow) -> None:
        """Note that another process has done it, with a later token."""
        is_so = after.owner_name != before.owner_name and after.token > before.token
        values = {"first": before.owner_name, "token": before.token}
        self.check("owner", is_so=is_so, **values, second=after.owner_name, next_token=after.token)

    def check_one_email(self, emails: Sequence[Received], delivery: DeliveryRow) -> None:
        """Note that one e-mail has arrived, with the Message-ID that each attempt gives it."""
        expected = f"<{delivery.event_id}.{delivery.handler}@allocation>"
        ids = [email.message_id for email in emails]
        self.check("one_email", is_so=ids == [expected], count=len(ids))

    def check_one_each(self, counts: Sequence[int]) -> None:
        """Note that each of some users has got one e-mail."""
        self.check("emails_once", is_so={*counts} == {1}, count=sum(counts))

    def end(self) -> None:
        """Come to the verdict."""
        self.state = "kept" if all(fact["is_so"] for fact in self.facts) else "broken"
