"""A log of a test's own."""

import io
import logging


class Log:
    """A logger of its own, and the lines it has written."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self._stream = io.StringIO()
        self._handler = logging.StreamHandler(self._stream)
        self._handler.setFormatter(formatter)
        self.logger = logging.Logger("things.test", logging.INFO)
        self.logger.addHandler(self._handler)

    def lines(self) -> list[str]:
        return self._stream.getvalue().splitlines()

    def close(self) -> None:
        self.logger.removeHandler(self._handler)
        self._handler.close()
