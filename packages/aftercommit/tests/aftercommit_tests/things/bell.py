"""Effects outside: a bell, which rings in a file or is remembered."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import anyio
from aftercommit import IdempotencyKey
from aftercommit.errors import TransientError
from anyio.lowlevel import checkpoint

CRACKED = "cracked"


class BellIsAway(TransientError):
    """There is no bell at the moment."""


class Bell(Protocol):
    """Rings, for all to hear."""

    async def ring(self, text: str, *, idempotency_key: IdempotencyKey) -> bool:
        """Ring once more; return whether nothing broke by it."""


@dataclass
class FileBell:
    """A line in a file for each time it rings; without its folder it is down.

    A named pipe that nobody reads lets it hang.
    """

    file: Path

    async def ring(self, text: str, *, idempotency_key: IdempotencyKey) -> bool:
        try:
            async with await anyio.open_file(self.file, "a") as file:
                await file.write(f"{text} {idempotency_key}\n")
        except FileNotFoundError as error:
            raise BellIsAway(f"no bell in {self.file.parent}") from error
        return CRACKED not in text


@dataclass
class RecordingBell:
    """Remembers what it rang; fails for the texts it was told to fail for."""

    rung: list[tuple[str, IdempotencyKey]] = field(default_factory=list)
    failures: dict[str, Exception] = field(default_factory=dict)

    @property
    def texts(self) -> list[str]:
        """What it rang, sorted."""
        return sorted(text for text, _ in self.rung)

    async def ring(self, text: str, *, idempotency_key: IdempotencyKey) -> bool:
        await checkpoint()
        if text in self.failures:
            raise self.failures[text]
        self.rung.append((text, idempotency_key))
        return CRACKED not in text
