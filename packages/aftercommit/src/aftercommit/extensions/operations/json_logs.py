"""The log for machines: one JSON object per line."""

import codecs
import logging
import sys
from typing import Any

from pythonjsonlogger.json import JsonFormatter as LibraryFormatter

from aftercommit.process.logging_setup import ids
from aftercommit.terminal.escaping import escape_controls


class JsonFormatter(LibraryFormatter):
    """One JSON object per line; in ASCII, if the encoding of stderr lacks some characters."""

    def __init__(self, encoding: str | None = None) -> None:
        encoding = encoding or str(getattr(sys.stderr, "encoding", "ascii"))
        super().__init__(
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
            timestamp="time",
            json_ensure_ascii=codecs.lookup(encoding).name != "utf-8",
        )

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; escaped characters mean the same in JSON strings."""
        return escape_controls(super().format(record))

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """Add the fields of the line."""
        super().add_fields(log_data, record, message_dict)
        log_data["level"] = record.levelname.lower()
        log_data.update(ids())
