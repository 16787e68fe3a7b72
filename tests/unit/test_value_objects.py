"""The value objects refuse what is wrong when they are made, so nobody has to check them again."""

import sys
import unicodedata
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any, TypeVar

import pytest
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from allocation.domain import values
from allocation.domain.coupons import MAX_QUANTITY, BatchReference, Quantity
from allocation.domain.exceptions import InvalidValue
from allocation.domain.values import (
    MAX_EMAIL_LENGTH,
    MAX_LABEL_LENGTH,
    MAX_LOCAL_PART_LENGTH,
    MAX_NAME_LENGTH,
    EmailAddress,
    PersonName,
)

LINE_BREAKS_AND_CONTROLS = [
    *("\n", "\r", "\t", "\x00", "\x1b", "\x7f", "\x85", "\u2028", "\u2029"),
    *("\u00ad", "\u200b", "\ufeff"),  # invisible
    "\u202e",  # turns the direction of the rest of the line
    *("\ud800", "\udfff"),  # surrogates
]
JOINERS = "\u200c\u200d"
TEXTS = {"name": (PersonName, "{}"), "e-mail address": (EmailAddress, "{}@example.com")}

V = TypeVar("V")
Text = PersonName | EmailAddress
Make = Callable[[str], Text]

# Letters that are hard to compare. (To let Hypothesis choose by category costs a second at start.)
LETTERS = "aZ09ßẞİıſΣςЖжéΐᾷǅᏸनिع李\u0301\u0345"

words = st.text(LETTERS, min_size=1, max_size=8)
characters = st.integers(0xA1, sys.maxunicode).map(chr)
texts = st.builds("{}{}{}".format, words, characters, words)
controls = st.one_of(
    st.sampled_from(LINE_BREAKS_AND_CONTROLS),
    st.integers(0x00, 0x1F).map(chr),
    st.integers(0x7F, 0x9F).map(chr),
    st.integers(0xD800, 0xDFFF).map(chr),
)
domains = st.sampled_from(["example.com", "Example.COM", "пример.рф", "a-b.xn--p1ai", "a.b.c.de"])
addresses = st.builds("{}@{}".format, texts, domains)
few = settings(max_examples=40, deadline=None)

both = pytest.mark.parametrize(
    ("what", "make", "within"), [(what, *rest) for what, rest in TEXTS.items()], ids=TEXTS
)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        *(
            (PersonName, name)
            for name in ("Иван", "O'Neill", "李小龍", "محمد", "José María", "X Æ A-12", "ไชยา")
        ),
        *((PersonName, name) for name in ("निर्मला", "عبد\u200cالله", "ක්\u200dෂ")),  # with joiners
        *((EmailAddress, f"{local}@пример.рф") for local in ("ivan", "иван", "o'neill", "1")),
        *((EmailAddress, f"first.last+tag@{d}") for d in ("sub.example.co.uk", "xn--e1a.xn--p1ai")),
        (EmailAddress, "a_b-c@example.invalid"),
        (EmailAddress, "Ivan@Example.COM"),  # only its host may say that it is ivan's mailbox
    ],
)
def test_a_text_may_be_written_in_any_script_and_keeps_its_spelling(make: Make, text: str) -> None:
    """Somebody who cannot spell their own name here cannot register. Addresses: RFC 6531."""
    assert str(make(text)) == text


@both
def test_outer_spaces_and_the_encoding_of_accents_make_no_difference(
    what: str, make: Make, within: str
) -> None:
    """Two keyboards write é in two ways, and a space too many is a slip of the finger."""
    composed, decomposed = within.format("Ren\u00e9"), within.format("Rene\u0301")

    value = make(f"  {decomposed} ")

    assert value == make(composed)
    assert str(value) == composed


def test_a_name_keeps_its_inner_spaces_and_its_case() -> None:
    """A name is spelled as its owner spells it."""
    assert str(PersonName("Anna  Maria")) == "Anna  Maria"
    assert PersonName("de Boer") != PersonName("De Boer")


@both
@pytest.mark.parametrize("text", ["", " ", "   "])
def test_what_is_empty_is_refused(what: str, make: Make, within: str, text: str) -> None:
    """The message says which of the two inputs is missing."""
    with pytest.raises(InvalidValue, match=f"^{what} is empty$"):
        make(text)


@pytest.mark.parametrize("text", ["-", "...", "😀", "\u200d", "\u0301", "\u00a0"])
def test_a_name_without_a_letter_is_refused(text: str) -> None:
    """A name that cannot be read aloud, or even seen, was not typed on purpose."""
    with pytest.raises(InvalidValue, match=r"^name has no letter or digit in it$"):
        PersonName(text)


@pytest.mark.parametrize("filler", "\u115f\u1160\u3164\uffa0")
def test_a_name_of_a_letter_that_nobody_sees_is_refused(filler: str) -> None:
    """Hangul's fillers are letters to Unicode."""
    with pytest.raises(InvalidValue):
        PersonName(filler)


@both
@pytest.mark.parametrize("control", LINE_BREAKS_AND_CONTROLS, ids=ascii)
def test_a_line_break_or_a_control_character_is_refused(
    what: str, make: Make, within: str, control: str
) -> None:
    """A line break would let its owner write headers, or recipients, into our e-mails."""
    for text in (within.format(f"iv{control}an"), f"{control}{within.format('ivan')}"):
        with pytest.raises(InvalidValue, match=f"^{what} has a line break, a control character"):
            make(text)


@both
@pytest.mark.parametrize("around", ["\n{}", "{}\n", "{}\r\n ", " \t{}"], ids=ascii)
def test_a_line_break_around_a_text_is_not_stripped_but_refused(
    what: str, make: Make, within: str, around: str
) -> None:
    """A line break at the end is where an attack begins, so it is never taken for a space."""
    with pytest.raises(InvalidValue, match=f"^{what} has a line break"):
        make(around.format(within.format("ivan")))


@both
@pytest.mark.parametrize("text", ["=?utf-8?q?Ivan=0A?=", "Ivan=?"])
def test_the_mark_of_an_encoded_word_is_refused(
    what: str, make: Make, within: str, text: str
) -> None:
    """In a mail header it would be decoded: a line break, or a second recipient, in disguise."""
    with pytest.raises(InvalidValue, match=rf"^{what} has =\? in it$"):
        make(within.format(text))


def test_a_name_may_be_as_long_as_the_limit_and_no_longer() -> None:
    """The limit counts the characters that are stored: it is the same in every script."""
    longest, typed = "И" * MAX_NAME_LENGTH, "e\u0301" * MAX_NAME_LENGTH

    assert str(PersonName(longest)) == longest
    assert str(PersonName(f" {typed} ")) == "\u00e9" * MAX_NAME_LENGTH
    with pytest.raises(InvalidValue, match=r"^name has 201 characters, 200 are allowed$"):
        PersonName(longest + "И")


def test_an_address_may_be_as_long_as_the_limits_and_no_longer() -> None:
    """Longer addresses do not travel: RFC 5321, 4.5.3.1."""
    longest_local_part = "a" * MAX_LOCAL_PART_LENGTH
    labels = ".".join(["b" * MAX_LABEL_LENGTH] * 3)
    longest = f"{'a' * (MAX_EMAIL_LENGTH - len(f'@{labels}.com'))}@{labels}.com"

    assert str(EmailAddress(f"{longest_local_part}@example.com")).startswith(longest_local_part)
    assert str(EmailAddress(longest)) == longest
    with pytest.raises(InvalidValue, match=r"^e-mail address has more than 64 characters before"):
        EmailAddress(f"a{longest_local_part}@example.com")
    with pytest.raises(InvalidValue, match=r"^e-mail address has 255 characters, 254 are allowed$"):
        EmailAddress(f"a{longest}")


@both
def test_what_is_far_too_long_is_refused_before_it_is_normalized(
    what: str, make: Make, within: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Normalizing takes the square of the number of marks: 64 kB would stop the event loop."""
    monkeypatch.setattr(values, "normalize", lambda form, text: pytest.fail("normalized"))

    with pytest.raises(InvalidValue, match="has 32701 characters"):
        make("a" + "\u0315" * 16350 + "\u0300" * 16350)


@pytest.mark.parametrize(
    "text",
    [
        *("ivan", "ivan@", "@example.com", "@", "ivan@@example.com", "ivan@home@example.com"),
        *("ivan smith@example.com", "ivan\u00a0smith@example.com", "ivan@exam ple.com"),
        *(".ivan@example.com", "ivan.@example.com", "ivan..smith@example.com"),
        *("ivan@.example.com", "ivan@example.com.", "ivan@example..com"),
        *("ivan@-example.com", "ivan@example-.com", f"ivan@{'a' * 64}.com"),
        *("ivan@example.com,anna@example.com", "ivan@example.com;anna@example.com"),
        *("Ivan <ivan@example.com>", '"ivan"@example.com'),
        *("ivan@[127.0.0.1]", "ivan@127.0.0.1", "root@localhost"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """A typing error found now is a letter that arrives; and one address is never two."""
    with pytest.raises(InvalidValue, match=r"^e-mail address .* is not of the form") as refusal:
        EmailAddress(text)

    assert repr(text) in str(refusal.value)


@pytest.mark.parametrize(
    "name", ["ivan", "иван", "weiß", "νίκος", "ma\u0390ou", "\u01f0an", "ﬁona"]
)
def test_addresses_that_differ_in_case_are_the_same(name: str) -> None:
    """Nobody registers twice by holding the shift key, in any script."""
    address, same = EmailAddress(f"{name}@example.com"), EmailAddress(f"{name.upper()}@Example.com")

    assert same == address
    assert same.key == address.key
    assert len({address, same}) == 1


def test_different_addresses_differ() -> None:
    """Two people may differ in one letter."""
    assert EmailAddress("ivan@example.com") != EmailAddress("iwan@example.com")
    assert EmailAddress("ivan@example.com") != EmailAddress("ivan@example.org")


@given(text=texts)
@example(text="Ив\nан")
@example(text=" Rene\u0301 ")
@example(text="\udcffx")
@few
def test_every_accepted_name_is_one_tidy_line_and_read_back_unchanged(text: str) -> None:
    """Whatever prints, stores or sends a name relies on this without looking."""
    assert_is_one_tidy_line(PersonName, text, limit=MAX_NAME_LENGTH)


@given(text=addresses)
@example(text="iv\nan@example.com")
@example(text="iv\u202ean@example.com")
@example(text=" rene\u0301@example.com ")
@few
def test_every_accepted_address_is_one_tidy_line_and_read_back_unchanged(text: str) -> None:
    """One that changed on its way through the database could be taken a second time."""
    address = assert_is_one_tidy_line(EmailAddress, text, limit=MAX_EMAIL_LENGTH)

    assert address.count("@") == 1
    assert len(address.split()) == 1


@given(text=addresses)
@example(text="STRASSE@example.com")
@example(text="\u1fb7@example.com")  # its title case is two characters
@few
def test_addresses_are_equal_just_if_unicode_says_they_differ_in_case_only(text: str) -> None:
    """One script missed is a user registered twice. (The Unicode Standard, definition D145.)"""
    address = _accepted(EmailAddress, text)

    for other in (str(address).upper(), str(address).title(), str(address).casefold()):
        equal = _accepted(EmailAddress, other) == address
        assert equal == (_folded(other) == _folded(str(address)))


@given(before=words, control=controls, after=words)
@few
def test_no_surroundings_hide_a_control_character(before: str, control: str, after: str) -> None:
    """One gap in the check is enough for somebody who looks for it."""
    for what, (make, within) in TEXTS.items():
        with pytest.raises(InvalidValue, match=f"^{what} "):
            make(within.format(before + control + after))


@pytest.mark.parametrize("text", ["WELCOME", "a", "7", "spring-2026", "A_b-3", "x" * 40])
def test_a_reference_is_of_letters_digits_dashes_and_underscores(text: str) -> None:
    """It becomes the first part of every coupon code, so it has to be easy to type."""
    assert str(BatchReference(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", " A", "A ", "A B", "-A", "A\n", "A\x00", "\ud800", "A/B", "x" * 41),
        *("ВЕСНА", "é", "CAFÉ", "Ａ"),
    ],
    ids=ascii,
)
def test_any_other_reference_is_refused(text: str) -> None:
    """The message shows the reference on one line, with what is invisible spelled out."""
    with pytest.raises(InvalidValue, match=r"^reference .* is not 1 to 40 of") as refusal:
        BatchReference(text)

    assert repr(text) in str(refusal.value)
    assert str(refusal.value).isprintable()


def test_references_that_differ_in_case_differ() -> None:
    """Coupon codes are compared letter by letter, and so is what they begin with."""
    assert BatchReference("Welcome") != BatchReference("WELCOME")


@given(
    before=st.text("aZ09-_", max_size=8),
    wrong=st.one_of(characters, controls, st.sampled_from(" .,:/\\'\"@")),
    after=st.text("aZ09-_", max_size=8),
)
@few
def test_no_surroundings_hide_a_wrong_character_in_a_reference(
    before: str, wrong: str, after: str
) -> None:
    """Marketing reads references to customers on the phone: all of it has to be speakable."""
    with pytest.raises(InvalidValue, match=r"^reference "):
        BatchReference(before + wrong + after)


@pytest.mark.parametrize("number", [1, 2, MAX_QUANTITY])
def test_a_quantity_is_a_number_from_one_to_a_thousand_million(number: int) -> None:
    """The limit is far above every campaign, and far below what a database overflows at."""
    assert Quantity(number).value == number


@pytest.mark.parametrize("number", [0, -1, MAX_QUANTITY + 1, 2**63])
def test_a_quantity_out_of_range_is_refused(number: int) -> None:
    """A batch of no coupons, or of less than none, is somebody's mistake."""
    with pytest.raises(InvalidValue, match=rf"^quantity {number} is not between 1 and 1000000000$"):
        Quantity(number)


@pytest.mark.parametrize(
    "value",
    [PersonName("Иван"), EmailAddress("ivan@example.com"), BatchReference("A"), Quantity(1)],
    ids=lambda value: type(value).__name__,
)
def test_a_value_object_cannot_be_changed(value: Any) -> None:
    """What was checked once stays right only if nobody can write past the check."""
    with pytest.raises(FrozenInstanceError):
        value.value = ""


def assert_is_one_tidy_line(make: Callable[[str], Text], text: str, *, limit: int) -> str:
    """Check what is accepted, if it is, and return it."""
    made = _accepted(make, text)
    value = str(made)
    assert not any(unicodedata.category(c) in {"Cc", "Cf"} for c in value if c not in JOINERS)
    assert value.splitlines() == [value]
    assert value.strip(" ") == value
    assert unicodedata.is_normalized("NFC", value)
    assert 1 <= len(value) <= limit
    assert value.encode().decode() == value
    assert make(value) == made
    assert str(make(value)) == value
    return value


def _accepted(make: Callable[[str], V], text: str) -> V:
    try:
        return make(text)
    except InvalidValue:
        reject()


def _folded(text: str) -> str:
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold())
