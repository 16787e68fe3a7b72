"""Values that any aggregate may have: valid by construction. Any layer may import this."""

import re
from dataclasses import dataclass, field
from unicodedata import category, normalize

from allocation.domain.error_kinds import InvalidValue

MAX_NAME_LENGTH = 200
MAX_EMAIL_LENGTH = 254  # RFC 5321, 4.5.3.1.3, less the angle brackets
MAX_LOCAL_PART_LENGTH = 64  # RFC 5321, 4.5.3.1.1
MAX_LABEL_LENGTH = 63  # RFC 1035, 2.3.4

MAX_DECOMPOSED = 4  # characters that NFC may combine into one
INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode's controls, formats, surrogates, separators
FILLERS = "\u115f\u1160\u3164\uffa0"  # Hangul's: letters to Unicode, and invisible

_JOINERS = "\u200c\u200d"  # invisible, but part of the spelling of Persian and Indic names
_WORD = r'[^\s.@<>()\[\],;:"\\]+'
_LOCAL_PART = re.compile(rf"{_WORD}(\.{_WORD})*")


@dataclass(frozen=True, slots=True)
class PersonName:
    """The name of a user, in any script: one line, 1 to 200 characters, NFC."""

    value: str

    def __post_init__(self) -> None:
        value = _one_line("name", self.value, MAX_NAME_LENGTH)
        if not any(map(str.isalnum, value)):
            raise InvalidValue("name", "has no letter or digit in it")
        object.__setattr__(self, "value", value)

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class EmailAddress:
    """An e-mail address, kept as it was spelled (NFC) and compared case-insensitively.

    Quoted local parts, address literals and domains with a single label are refused, although RFC
    5321 allows them: no real user has one, and no mail server would accept it.
    """

    value: str = field(compare=False)
    key: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        what = "e-mail address"
        value = _one_line(what, self.value, MAX_EMAIL_LENGTH)
        local_part, _, domain = value.rpartition("@")
        if not (_LOCAL_PART.fullmatch(local_part) and _is_public_domain(domain.split("."))):
            raise InvalidValue(what, f"{value!r} is not of the form name@example.com")
        if len(local_part) > MAX_LOCAL_PART_LENGTH:
            raise InvalidValue(
                what, f"has more than {MAX_LOCAL_PART_LENGTH} characters before the @"
            )
        object.__setattr__(self, "value", value)
        object.__setattr__(self, "key", _caseless(value))

    def __str__(self) -> str:
        return self.value


def _one_line(what: str, value: str, limit: int) -> str:
    """Normalize to NFC, strip outer spaces, and check what all one-line texts have in common."""
    if len(value) > limit * MAX_DECOMPOSED:  # normalizing many marks takes quadratic time
        raise InvalidValue(what, f"has {len(value)} characters; at most {limit} are allowed")
    value = normalize("NFC", value).strip(" ")
    if not value:
        raise InvalidValue(what, "is empty")
    if len(value) > limit:
        raise InvalidValue(what, f"has {len(value)} characters; at most {limit} are allowed")
    if any(c in FILLERS or (category(c) in INVISIBLE and c not in _JOINERS) for c in value):
        raise InvalidValue(what, "has a line break, a control character or invalid UTF-8 in it")
    if "=?" in value:  # RFC 2047: in a mail header this would be decoded into anything at all
        raise InvalidValue(what, "has =? in it")
    return value


def _is_public_domain(labels: list[str]) -> bool:
    """Tell whether it can be in the public DNS: at least two labels, and no number at the end."""
    return len(labels) > 1 and not labels[-1].isdecimal() and all(map(_is_label, labels))


def _is_label(label: str) -> bool:
    """Tell whether this can stand between the dots of a domain: letters, marks, numbers, dashes."""
    dashes_inside = 0 < len(label) <= MAX_LABEL_LENGTH and "-" not in (label[0], label[-1])
    return dashes_inside and all(c == "-" or category(c)[0] in "LMN" for c in label)


def _caseless(text: str) -> str:
    """Return the form in which texts that differ only in case are equal (Unicode, D145).

    This form is stored, so another form would need a migration.
    """
    return normalize("NFC", normalize("NFD", text).casefold())
