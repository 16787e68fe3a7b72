"""Sets up logging: to stderr, as text or JSON, with the ids of the message in every line."""

import codecs
import json
import logging
import sys
from datetime import UTC, datetime

from allocation.entrypoints.output import tell_dropped_by
from allocation.service_layer.context import current_cause

CHATTY_LIBRARIES = ("aio_pika", "aiokafka", "aiormq")  # they log what they raise, or mend


class TextFormatter(logging.Formatter):
    """A line for people; the ids come last."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s%(ids)s")

    def format(self, record: logging.LogRecord) -> str:
        record.ids = "".join(f" {name}={value}" for name, value in _ids().items())
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """A JSON object a line, for machines; in ASCII, if the stream cannot write more."""

    def __init__(self, *, ascii_only: bool = False) -> None:
        super().__init__()
        self._ascii_only = ascii_only

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_ids(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=self._ascii_only)


def set_up_logging(level: str, log_format: str) -> None:
    """Log to stderr from `level` on; libraries are heard only about problems."""
    formatter = _formatter(log_format, getattr(sys.stderr, "encoding", "ascii"))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    tell_dropped_by(sys.stderr, lambda count: formatter.format(_dropped(count)))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for library in CHATTY_LIBRARIES:
        logging.getLogger(library).setLevel(logging.CRITICAL)
    logging.getLogger("allocation").setLevel(level.upper())


def _formatter(log_format: str, encoding: str) -> logging.Formatter:
    if log_format == "text":
        return TextFormatter()
    return JsonFormatter(ascii_only=codecs.lookup(encoding).name != "utf-8")


def _dropped(count: int) -> logging.LogRecord:
    fields = {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING"}
    return logging.makeLogRecord(fields | {"msg": "%d lines were not shown", "args": (count,)})


def _ids() -> dict[str, str]:
    cause = current_cause.get()
    if cause is None:
        return {}
    return {
        "correlation_id": str(cause.correlation_id),
        "causation_id": str(cause.causation_id),
    }
