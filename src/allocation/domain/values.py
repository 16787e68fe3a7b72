"""The value objects: a name, an address, a reference, a quantity, valid by construction.

Most of this file is about text that people type: which characters a line may have in any script.
Imports the standard library only.
"""

import re
import unicodedata
from dataclasses import dataclass, field

from allocation.domain.exceptions import InvalidValue

MAX_NAME_LENGTH = 200
MAX_EMAIL_LENGTH = 254  # RFC 5321, 4.5.3.1.3, less the angle brackets
MAX_LOCAL_PART_LENGTH = 64  # RFC 5321, 4.5.3.1.1
MAX_QUANTITY = 1_000_000_000

INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode's controls, formats, surrogates, separators

_JOINERS = "\u200c\u200d"  # invisible, but part of the spelling of Persian and Indic names
_LOCAL_PART = re.compile(r'[^\s.@<>()\[\],;:"\\]+(\.[^\s.@<>()\[\],;:"\\]+)*')
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class PersonName:
    """What a person is called, in any script: one line, 1 to 200 characters, NFC.

    :raises InvalidValue: if it is empty, too long, has a control character, or no letter or digit
    """

    value: str

    def __post_init__(self) -> None:
        value = _one_line("name", self.value, MAX_NAME_LENGTH)
        if not any(character.isalnum() for character in value):
            raise InvalidValue("name", "has no letter or digit in it")
        object.__setattr__(self, "value", value)

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class EmailAddress:
    """An e-mail address, kept as it was spelled (NFC) and compared case-insensitively.

    Quoted local parts and address literals are refused, although RFC 5321 knows them: nobody who
    means to register has one.

    :raises InvalidValue: if it is no such address
    """

    value: str = field(compare=False)
    key: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        value = _one_line("e-mail address", self.value, MAX_EMAIL_LENGTH)
        local_part, _, domain = value.rpartition("@")
        if not (_LOCAL_PART.fullmatch(local_part) and all(map(_is_label, domain.split(".")))):
            raise InvalidValue("e-mail address", f"{value!r} is not of the form name@example.com")
        if len(local_part) > MAX_LOCAL_PART_LENGTH:
            raise InvalidValue(
                "e-mail address", f"has more than {MAX_LOCAL_PART_LENGTH} characters before the @"
            )
        object.__setattr__(self, "value", value)
        object.__setattr__(self, "key", _caseless(value))

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class BatchReference:
    """The name of a coupon batch: 1 to 40 of A-Z, a-z, 0-9, - and _, the first a letter or digit.

    :raises InvalidValue: if it is anything else
    """

    value: str

    def __post_init__(self) -> None:
        if not _REFERENCE.fullmatch(self.value):
            raise InvalidValue(
                "reference",
                f"{self.value!r} is not 1 to 40 of A-Z, a-z, 0-9, - and _, with no - or _ first",
            )

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Quantity:
    """How many coupons a batch holds: a whole number from 1 to a thousand million.

    :raises InvalidValue: if it is outside that range
    """

    value: int

    def __post_init__(self) -> None:
        if not 1 <= self.value <= MAX_QUANTITY:
            raise InvalidValue("quantity", f"{self.value} is not between 1 and {MAX_QUANTITY}")


def _one_line(what: str, value: str, limit: int) -> str:
    """Normalize to NFC, strip outer spaces, and check what all one-line texts have in common."""
    value = unicodedata.normalize("NFC", value).strip(" ")
    if not value:
        raise InvalidValue(what, "is empty")
    if len(value) > limit:
        raise InvalidValue(what, f"has {len(value)} characters, {limit} are allowed")
    if any(_is_control(character) for character in value):
        raise InvalidValue(what, "has a line break, a control character or invalid UTF-8 in it")
    if "=?" in value:  # RFC 2047: in a mail header this would be decoded into anything at all
        raise InvalidValue(what, "has =? in it")
    return value


def _is_label(label: str) -> bool:
    """Tell whether this can stand between the dots of a domain, in any script."""
    return bool(label) and "-" not in (label[0], label[-1]) and all(map(_is_domain_part, label))


def _is_domain_part(character: str) -> bool:
    return (
        character.isalnum() or character == "-" or unicodedata.category(character).startswith("M")
    )


def _caseless(text: str) -> str:
    """Return the form in which texts that differ only in case are equal (Unicode, D145).

    It is stored: another form would need a migration of the stored ones.
    """
    folded = unicodedata.normalize("NFD", text).casefold()
    return unicodedata.normalize("NFC", folded)


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in INVISIBLE and character not in _JOINERS
