"""Values that are valid by construction. Any layer may import this.

Anybody may send any text. One short line harms neither a mail program nor a terminal.
"""

import re
from dataclasses import dataclass
from unicodedata import category

from shop.domain.bases import InvalidInput

MAX_EMAIL_LENGTH = 254  # RFC 5321
MAX_ARTICLE_LENGTH = 100
INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode's controls, formats, surrogates, separators
_WORD = r'[^\s.@<>()\[\],;:"\\]+'
_EMAIL = re.compile(rf"{_WORD}(\.{_WORD})*@{_WORD}(\.{_WORD})+")


@dataclass(frozen=True, slots=True)
class EmailAddress:
    """An e-mail address of the form name@example.com."""

    value: str

    def __post_init__(self) -> None:
        _require_one_line("an e-mail address", self.value, MAX_EMAIL_LENGTH)
        if not _EMAIL.fullmatch(self.value):
            raise InvalidInput(f"{self.value!r} is not of the form name@example.com")


@dataclass(frozen=True, slots=True)
class Article:
    """The name of an article."""

    value: str

    def __post_init__(self) -> None:
        _require_one_line("an article", self.value, MAX_ARTICLE_LENGTH)


def _require_one_line(what: str, text: str, limit: int) -> None:
    if not 0 < len(text) <= limit:
        raise InvalidInput(f"{what} has 1 to {limit} characters, and this has {len(text)}")
    # RFC 2047: in the head of an e-mail, =? is decoded into anything at all
    if "=?" in text or any(category(each) in INVISIBLE for each in text):
        raise InvalidInput(f"{what} has a line break, a control character, =? or invalid UTF-8")
