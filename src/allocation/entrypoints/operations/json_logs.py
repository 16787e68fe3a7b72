"""The log for machines: a JSON object a line."""

import codecs
import json
import logging
import sys
from datetime import UTC, datetime

from allocation.entrypoints.logs import ids


class JsonFormatter(logging.Formatter):
    """A JSON object a line; in ASCII, if the encoding, of stderr, has not all there is."""

    def __init__(self, encoding: str | None = None) -> None:
        super().__init__()
        if encoding is None:
            encoding = str(getattr(sys.stderr, "encoding", "ascii"))
        self._ascii_only = codecs.lookup(encoding).name != "utf-8"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **ids(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=self._ascii_only)
