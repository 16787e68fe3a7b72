"""Limits of a session's time, which the world keeps in the place of the server.

The server's own are real time, and would depend on the machine. So they are taken out of the
statements that set them, and the world ends what has taken too long in its own time.
"""

import re
from math import inf
from typing import Literal, NamedTuple, cast

LimitName = Literal["lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"]

_NAMES = "lock_timeout|statement_timeout|idle_in_transaction_session_timeout"
_CALL = re.compile(rf"set_config\('({_NAMES})', '(\w+)', (true|false)\)")
_SET_LOCAL = re.compile(rf"SET LOCAL ({_NAMES}) = '(\w+)'")
_UNITS = {"": 0.001, "ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}


class Limit(NamedTuple):
    """What a statement sets, perhaps for its transaction only."""

    name: LimitName
    seconds: float
    is_local: bool


def taken_out(sql: str) -> tuple[str, list[Limit]]:
    """Return a statement that sets no limits, and those that it would have set."""
    if "_timeout" not in sql:
        return sql, []
    limits = [_limit(each[1], each[2], each[3]) for each in _CALL.finditer(sql)]
    limits += [_limit(each[1], each[2], "true") for each in _SET_LOCAL.finditer(sql)]
    sql = _CALL.sub(r"set_config('\1', '0', \3)", sql)
    return _SET_LOCAL.sub(r"SET LOCAL \1 = '0'", sql), limits


def _limit(name: str, value: str, is_local: str) -> Limit:
    number, unit = re.match(r"(\d+)(\w*)", value).groups()  # type: ignore[union-attr]
    seconds = int(number) * _UNITS[unit] or inf
    return Limit(cast(LimitName, name), seconds, is_local == "true")


class Limits:
    """Those of a session."""

    def __init__(self) -> None:
        self._session: dict[LimitName, float] = {}
        self._transaction: dict[LimitName, float] = {}

    def __getitem__(self, name: LimitName) -> float:
        """Return seconds."""
        return self._transaction.get(name, self._session.get(name, inf))

    def set(self, limit: Limit) -> None:
        """Keep to a limit from now on."""
        those = self._transaction if limit.is_local else self._session
        those[limit.name] = limit.seconds

    def transaction_ends(self) -> None:
        """Forget what was set for the transaction only."""
        self._transaction.clear()
