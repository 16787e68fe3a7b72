"""Texts that are valid by construction. Any layer may import this."""

import re
from dataclasses import dataclass
from typing import ClassVar
from unicodedata import category

from shop.domain.bases import InvalidValue

INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode's controls, formats, surrogates, separators
_WORD = r'[^\s.@<>()\[\],;:"\\]+'


@dataclass(frozen=True, slots=True)
class Text:
    """A short line, which harms neither a mail program nor a terminal: anybody may send any."""

    value: str
    what: ClassVar[str]
    longest: ClassVar[int]
    pattern: ClassVar[re.Pattern[str]]
    wrong: ClassVar[str]  # said of a text that does not match the pattern

    def __post_init__(self) -> None:
        if not 1 <= len(self.value) <= self.longest:
            raise InvalidValue(self.what, f"has not 1 to {self.longest} characters")
        # RFC 2047: in the head of an e-mail, =? is decoded into anything at all
        if "=?" in self.value or any(category(each) in INVISIBLE for each in self.value):
            raise InvalidValue(self.what, "has a line break, a control character or =? in it")
        if not self.pattern.fullmatch(self.value):
            raise InvalidValue(self.what, self.wrong)


class EmailAddress(Text):
    """An e-mail address."""

    what, longest, wrong = "e-mail address", 254, "is not of the form name@example.com"  # RFC 5321
    pattern = re.compile(rf"{_WORD}(\.{_WORD})*@{_WORD}(\.{_WORD})+")


class Article(Text):
    """The name of an article."""

    what, longest, pattern, wrong = "article", 100, re.compile(r".*\S.*"), "is blank"
