"""Why a handler is given up. Pure: no I/O. `Otherwise` says what happens instead."""

from typing import Literal, NamedTuple, Self, cast, get_args

from aftercommit.errors import Kind, is_permanent, kind_of

Reason = Literal["refused", "attempts", "too late", "unfinished"]
"""A permanent error; no attempt is left; `within` is over; or its last attempt did not end."""

TOO_LATE, UNFINISHED = get_args(Reason)[2:]
BEFORE_THAT = "; before that: "  # the error of what happens instead, and that of the handler


class GivenUp(NamedTuple):
    """Why a handler was given up, and after how many attempts: `instead` gets it as `failure`.

    The `kind` is that of the last error if that error has decided: see docs/errors.md. The text of
    the error may quote personal data, so it is not part of this: ask for `last_error`.

    >>> from aftercommit import GivenUp
    >>> GivenUp("refused", "refused", attempts=1).words
    'refused after 1 attempt'
    """

    reason: Reason
    kind: Kind | None
    attempts: int

    @classmethod
    def after(cls, error: Exception, attempts: int) -> Self:
        """Return that this error has decided."""
        return cls("refused" if is_permanent(error) else "attempts", kind_of(error), attempts)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what is stored."""
        reason, kind, attempts = text.split(":")
        return cls(cast("Reason", reason), cast("Kind", kind) or None, int(attempts))

    @property
    def text(self) -> str:
        """As it is stored."""
        return f"{self.reason}:{self.kind or ''}:{self.attempts}"

    @property
    def words(self) -> str:
        """For displays."""
        reason = "failed" if self.reason == "attempts" else self.reason
        return f"{reason} after {self.attempts} attempt{'s' * (self.attempts != 1)}"
