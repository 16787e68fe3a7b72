"""What has happened in a world: a short table for people, and a hash that tells two runs apart."""

import logging
import re
from asyncio import events
from hashlib import blake2b
from os import getpid
from socket import gethostname
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from simulation.world import World

THIS_PROCESS = f"@{gethostname()}:{getpid()}"  # in names of processes: it differs from run to run
WIDTH = 150


class Entry(NamedTuple):
    """Something that has happened; details are for those who look for what an entry has caused."""

    seconds: float
    who: str
    what: str
    is_detail: bool


class Story:
    """All that has happened, in its order."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._entries: list[Entry] = []

    def tell(self, who: object, what: str, *, detail: bool = False) -> None:
        """Add an entry."""
        self._entries.append(Entry(self._world.now, str(who), what, detail))

    @property
    def digest(self) -> str:
        """A hash of all of it, with its details and times."""
        text = "\n".join(f"{e.seconds!r} {e.who} {e.what}" for e in self._entries)
        return blake2b(text.encode(), digest_size=8).hexdigest()

    def table(self, *, details: bool = False) -> str:
        """Return it as a table of who did what when, with details if they are asked for."""
        shown = [each for each in self._entries if details or not each.is_detail]
        width = max((len(each.who) for each in shown), default=0)
        rows = [f"{e.seconds:9.3f}  {e.who:{width}}  {e.what}"[:WIDTH] for e in shown]
        return "\n".join([f"{'seconds':>9}  {'who':{width}}  what", *rows])


class LogHandler(logging.Handler):
    """Adds to the story what the engine logs."""

    def __init__(self, story: Story) -> None:
        super().__init__(logging.INFO)
        self._story = story

    def emit(self, record: logging.LogRecord) -> None:
        """Add a line, and its error."""
        who = getattr(events._get_running_loop(), "process", "")
        text = f"log: {record.getMessage()}"
        if record.exc_info and record.exc_info[1]:
            text += f" ({record.exc_info[1]!r})"
        clean = re.sub(r"0x[0-9a-f]+", "0x…", text.replace(THIS_PROCESS, ""))
        self._story.tell(who, clean, detail=True)
