"""The suite, with what it cannot know about a new dialect."""

from sqlalchemy.testing.suite import *  # noqa: F403 - this is how a dialect takes the suite over
from sqlalchemy.testing.suite import ServerSideCursorsTest as _ServerSideCursorsTest
from sqlalchemy_anyio.cursors import StreamingCursor


class ServerSideCursorsTest(_ServerSideCursorsTest):  # type: ignore[no-redef]
    """The suite recognizes such cursors by the names of the drivers it knows."""

    def _is_server_side(self, cursor: object) -> bool:
        return isinstance(cursor, StreamingCursor)
