"""The kinds of errors that the domain raises. The errors of an aggregate stand with it.

`error_kind` decides what becomes of the failed work: the engine reads the attribute by its name. An
error takes facts and composes its own sentence.
"""

from typing import ClassVar


class InvalidInput(Exception):
    """The input can never be accepted as it is."""

    error_kind: ClassVar[str] = "invalid"


class RuleViolation(Exception):
    """The input is well-formed, but a business rule refuses it."""

    error_kind: ClassVar[str] = "refused"


class InvalidValue(InvalidInput):
    """A value object was given a value that its rules do not allow."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what} {reason}")
