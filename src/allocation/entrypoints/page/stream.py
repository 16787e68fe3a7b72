"""What a viewer is sent: server-sent events (the HTML standard has them), for as long as he looks.

Each has some stories that have changed; after the last of a round its `id` says what he has seen.
"""

import re
from uuid import UUID

import msgspec
from anyio.abc import TaskGroup
from starlette.responses import StreamingResponse
from starlette.types import Send

from allocation.entrypoints.page.reader import MAX_STORIES, READ_AT_ONCE, Reader

BEAT_SECONDS = 5.0  # who hears nothing for much longer is cut off
BEHIND_SECONDS = 1.0  # who is sent what is older is told when he has caught up


class Stream(StreamingResponse):
    """The answer. It ends when the viewer leaves, or when the process is about to stop."""

    def __init__(self, reader: Reader, group: TaskGroup, last_seen: str) -> None:
        super().__init__((), media_type="text/event-stream")
        self._reader, self._group = reader, group
        self._viewer = Viewer(reader, last_seen)

    async def stream_response(self, send: Send) -> None:
        """Send what is new, and then what is newer; a slow viewer is sent less often."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        with self._reader.looked_at(self._group):
            await send(start)
            while not self._reader.is_over:
                await send(_body(await self._viewer.next(), more_body=True))
        await send(_body(b"", more_body=False))


class Viewer:
    """What one viewer has seen: a number, and in the middle of a round, the ids that are left."""

    def __init__(self, reader: Reader, last_seen: str) -> None:
        self._reader = reader
        name, _, number = last_seen.partition("-")
        knows = name == reader.name and re.fullmatch(r"\d{1,15}", number)
        self._seen = self._round = int(number) if knows else 0
        self._left: list[UUID] = []
        self._is_new = not knows
        self._was_behind = False

    async def next(self) -> bytes:
        """Return the next event: with what is new or, after a while, with nothing."""
        reader = self._reader
        if not self._left:
            hurries = self._is_new or self._was_behind
            await reader.wait(self._seen, limit=0 if hurries else BEAT_SECONDS)
            self._round = reader.version
            self._left = reader.changed_since(self._seen)
        now, self._left = self._left[:READ_AT_ONCE], self._left[READ_AT_ONCE:]
        parts = [reader.stories[id_].json for id_ in now if id_ in reader.stories]
        fields = {
            "full": msgspec.json.encode(self._is_new),
            "most": msgspec.json.encode(MAX_STORIES),
            "stories": b"[%s]" % b",".join(parts),
        }
        self._is_new = False
        return self._event(fields, is_last=not self._left)

    def _event(self, fields: dict[str, bytes], *, is_last: bool) -> bytes:
        reader = self._reader
        behind = reader.seconds_behind(self._seen) if self._seen else 0.0
        self._was_behind = behind > BEHIND_SECONDS
        if is_last:
            fields |= self._others()
            self._seen = self._round
        fields["behind"] = msgspec.json.encode(behind)
        fields["now"] = msgspec.json.encode(reader.now)
        data = b",".join(b'"%s":%s' % (name.encode(), json) for name, json in fields.items())
        number = f"id: {reader.name}-{self._seen}\n" if is_last else ""
        return b"%sdata: {%s}\n\n" % (number.encode(), data)

    def _others(self) -> dict[str, bytes]:
        others = {"owed": self._reader.owed, "trouble": self._reader.trouble}
        return {name: part.json for name, part in others.items() if part.version > self._seen}


def _body(content: bytes, *, more_body: bool) -> dict[str, object]:
    return {"type": "http.response.body", "body": content, "more_body": more_body}
