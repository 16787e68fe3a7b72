"""Sets up logging: to stderr, as text or in a format of a room, with the ids of the message."""

import logging
import sys
from pkgutil import resolve_name

from allocation.entrypoints.output import tell_dropped_by
from allocation.entrypoints.rooms import entrypoints
from allocation.rooms import LOG_FORMATS
from allocation.service_layer.envelopes import current_context


class TextFormatter(logging.Formatter):
    """A line for people; the ids come last."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s%(ids)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        record.ids = "".join(f" {name}={value}" for name, value in ids().items())
        return super().format(record)


def set_up_logging(level: str, log_format: str) -> None:
    """Log to stderr from `level` on; libraries are heard only about problems."""
    formatter: logging.Formatter = resolve_name(LOG_FORMATS[log_format])()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    tell_dropped_by(sys.stderr, lambda count: formatter.format(_dropped(count)))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for library in (library for room in entrypoints() for library in room.chatty_libraries):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    logging.getLogger("allocation").setLevel(level.upper())


def ids() -> dict[str, str]:
    """Return the ids of the message that is worked on, to be a part of the line."""
    context = current_context.get()
    if context is None:
        return {}
    return {
        "correlation_id": str(context.correlation_id),
        "causation_id": str(context.causation_id),
    }


def _dropped(count: int) -> logging.LogRecord:
    fields = {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING"}
    return logging.makeLogRecord(fields | {"msg": "%d lines were not shown", "args": (count,)})
