"""Texts that are valid by construction. Any layer may import this."""

import re
from dataclasses import dataclass, field
from typing import ClassVar
from unicodedata import category, normalize

from allocation.domain.bases import InvalidValue

MAX_DECOMPOSED = 4  # characters that NFC may combine into one
INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode's controls, formats, surrogates, separators
JOINERS = "\u200c\u200d"  # invisible, but part of the spelling of Persian and Indic names

_WORD = r'[^\s.@<>()\[\],;:"\\]+'
# without =?, which a mailer would decode into any other text (RFC 2047)
_LOCAL_PART = rf"(?!.*=\?)(?=.{{1,64}}@){_WORD}(\.{_WORD})*"
_LABEL = r"(?!-)[^\s\x00-,./:-@\[-`{-\x7f]{1,63}(?<!-)"  # ASCII: letters, digits, inner dashes


@dataclass(frozen=True, slots=True, order=True)
class Text:
    """A text on one line, in NFC and without outer spaces, that matches the pattern of its class.

    If it does not match, the error says what is `wrong` with it.
    """

    value: str
    what: ClassVar[str]
    longest: ClassVar[int]
    pattern: ClassVar[re.Pattern[str]]
    wrong: ClassVar[str]

    def __post_init__(self) -> None:
        value = self.value
        if len(value) <= self.longest * MAX_DECOMPOSED:  # normalizing many marks is slow
            value = normalize("NFC", value).strip(" ")
        if not 1 <= len(value) <= self.longest:
            raise InvalidValue(self.what, f"has {len(value)} characters, not 1 to {self.longest}")
        if any(category(each) in INVISIBLE and each not in JOINERS for each in value):
            wrong = "has a line break, a control character or invalid UTF-8 in it"
            raise InvalidValue(self.what, wrong)
        if not self.pattern.fullmatch(value):
            raise InvalidValue(self.what, self.wrong.format(value))
        object.__setattr__(self, "value", value)

    def __str__(self) -> str:
        return self.value


class PersonName(Text):
    """The name of a user, in any script."""

    what, longest, wrong = "name", 200, "has no letter or digit in it"
    pattern = re.compile(r".*[^\W_\u115f\u1160\u3164\uffa0].*")  # Hangul's fillers are no letters


@dataclass(frozen=True, slots=True, order=True)
class EmailAddress(Text):
    """An e-mail address, kept as it was spelled and compared case-insensitively.

    Quoted local parts, address literals and domains of one label are refused: no user has one.
    """

    value: str = field(compare=False)
    key: str = field(init=False, repr=False)
    what, longest = "e-mail address", 254  # RFC 5321, 4.5.3.1.3, less the angle brackets
    pattern = re.compile(rf"{_LOCAL_PART}@({_LABEL}\.)+(?!\d+\Z){_LABEL}")
    wrong = "{!r} is not of the form name@example.com"

    def __post_init__(self) -> None:
        Text.__post_init__(self)  # plain `super()` fails in a class with slots
        # Unicode, D145: this form is stored, so another form would need a migration
        caseless = normalize("NFC", normalize("NFD", self.value).casefold())
        object.__setattr__(self, "key", caseless)
