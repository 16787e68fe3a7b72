"""The progress of an experiment, and what it found in the database and the inbox."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from aftercommit.extensions.operations.causation_tree import Node
from anyio import sleep

from playground.mail import Received

PACE_SECONDS = 0.7
LOOK_SECONDS = 3.0  # where there is something to read


@dataclass(slots=True)
class ExperimentRun:
    """One run of an experiment. Each fact is as guaranteed, or not."""

    state: str = "idle"  # running, kept, broken
    passed: list[str] = field(default_factory=list)  # begun steps; the last one is running
    trace: str | None = None  # what to look at
    facts: list[dict[str, object]] = field(default_factory=list)

    async def step(self, step: str, *, seconds: float = PACE_SECONDS) -> None:
        """Begin a step, at a pace that spectators can follow."""
        self.passed.append(step)
        await sleep(seconds)

    def check(self, fact: str, *, is_so: bool, **values: object) -> None:
        """Note a fact, with the values that were read."""
        self.facts.append({"name": fact, "is_so": is_so, "values": values})

    def check_another_owner(self, before: Node, after: Node) -> None:
        """Check that another process has done it, with a later token."""
        first, second = process_of(before), process_of(after)
        is_so = first != second and (after.token or 0) > (before.token or 0)
        values = {"first": first, "token": before.token}
        self.check("owner", is_so=is_so, **values, second=second, next_token=after.token)

    def check_one_email(self, emails: Sequence[Received], delivery: Node) -> None:
        """Check that one e-mail has arrived, with the Message-ID that every attempt uses."""
        expected = f"<{delivery.parent}.{delivery.name}@allocation>"
        ids = [email.message_id for email in emails]
        self.check("one_email", is_so=ids == [expected], count=len(ids))

    def check_one_each(self, counts: Sequence[int]) -> None:
        """Check that each of some users has got one e-mail."""
        self.check("emails_once", is_so={*counts} == {1}, count=sum(counts))

    def end(self) -> None:
        """Come to a verdict."""
        self.state = "kept" if all(fact["is_so"] for fact in self.facts) else "broken"


def process_of(delivery: Node) -> str:
    """Return the process that runs a delivery, or has done it: the name of NAME@HOST:PID."""
    return (delivery.owner or "").partition("@")[0]
