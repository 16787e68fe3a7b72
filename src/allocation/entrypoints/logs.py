"""Sets up logging: to stderr, as text or JSON, with the ids of the message in every line."""

import json
import logging
from datetime import UTC, datetime

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
    """A JSON object a line, for machines."""

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
        return json.dumps(line, ensure_ascii=False)


def set_up_logging(level: str, log_format: str) -> None:
    """Log to stderr from `level` on; libraries are heard only about problems."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for library in CHATTY_LIBRARIES:
        logging.getLogger(library).setLevel(logging.CRITICAL)
    logging.getLogger("allocation").setLevel(level.upper())


def _ids() -> dict[str, str]:
    cause = current_cause.get()
    if cause is None:
        return {}
    return {
        "correlation_id": str(cause.correlation_id),
        "causation_id": str(cause.causation_id),
    }
