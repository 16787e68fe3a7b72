"""Sets up logging: to stderr, as text or in an extension's format, with the ids of the message."""

import logging
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType

from aftercommit.envelopes import current_context
from aftercommit.terminal.escaping import escape_controls, escape_lines

Formatters = Mapping[str, Callable[[], logging.Formatter]]
"""Functions that make the formatter of a log format, by its name; `text` is built in."""


class TextFormatter(logging.Formatter):
    """One line; the ids come last. Further lines, such as a traceback, are indented."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s%(ids)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        record.ids = "".join(f" {name}={value}" for name, value in ids().items())
        return escape_lines(super().format(record), indent=2)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the first line, with the whole message; logging prescribes this method's name."""
        return escape_controls(super().formatMessage(record))


def set_up_logging(
    application: str,
    level: str,
    log_format: str = "text",
    formatters: Formatters = MappingProxyType({}),
) -> None:
    """Log to stderr from `level` on; of other libraries, only warnings and errors."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatters.get(log_format, TextFormatter)())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for package in (application, __name__.partition(".")[0]):
        logging.getLogger(package).setLevel(level.upper())


def ids() -> dict[str, str]:
    """Return the ids of the current message, for the log line."""
    context = current_context.get()
    names = ("correlation_id", "causation_id") if context else ()
    return {name: str(getattr(context, name)) for name in names}
