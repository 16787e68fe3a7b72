"""The value objects refuse what is wrong when they are made, so nobody has to check them again."""

import sys
import unicodedata
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import TypeVar

import pytest
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from allocation.domain.exceptions import InvalidValue
from allocation.domain.values import (
    MAX_EMAIL_LENGTH,
    MAX_LOCAL_PART_LENGTH,
    MAX_NAME_LENGTH,
    MAX_QUANTITY,
    BatchReference,
    EmailAddress,
    PersonName,
    Quantity,
)

LINE_BREAKS_AND_CONTROLS = [
    "\n",
    "\r",
    "\t",
    "\x00",
    "\x1b",
    "\x7f",
    "\x85",
    "\u00ad",  # a soft hyphen: invisible
    "\u200b",  # a space without width
    "\u202e",  # turns the direction of the rest of the line
    "\u2028",
    "\u2029",
    "\ufeff",
    "\ud800",
    "\udfff",
]
JOINERS = "\u200c\u200d"

V = TypeVar("V")

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
domains = st.sampled_from(["example.com", "Example.COM", "пример.рф", "a-b.xn--p1ai", "localhost"])
few = settings(max_examples=40, deadline=None)


@pytest.mark.parametrize(
    "text", ["Иван", "O'Neill", "李小龍", "محمد", "José María", "X Æ A-12", "निर्मला", "ไชยา"]
)
def test_a_name_may_be_written_in_any_script(text: str) -> None:
    """Whoever cannot spell their own name here cannot register."""
    assert str(PersonName(text)) == text


@pytest.mark.parametrize("text", ["عبد\u200cالله", "ක්\u200dෂ"])
def test_a_name_may_have_joiners_in_it(text: str) -> None:
    """They are invisible, but without them Persian and Indic names are misspelled."""
    assert str(PersonName(text)) == text


def test_a_name_loses_its_outer_spaces_and_keeps_its_inner_ones() -> None:
    """A space too many is a slip of the finger, not another person."""
    assert PersonName("  Anna  Maria ") == PersonName("Anna  Maria")


def test_a_name_is_the_same_however_its_accents_are_encoded() -> None:
    """Two keyboards write é in two ways; both people mean the same name."""
    composed, decomposed = "Ren\u00e9", "Rene\u0301"

    name = PersonName(decomposed)

    assert name == PersonName(composed)
    assert str(name) == composed


def test_names_that_differ_in_case_differ() -> None:
    """A name is spelled as its owner spells it."""
    assert PersonName("de Boer") != PersonName("De Boer")


@pytest.mark.parametrize("text", ["", " ", "   "])
def test_an_empty_name_is_refused(text: str) -> None:
    """An e-mail that greets nobody looks broken."""
    with pytest.raises(InvalidValue, match=r"^name is empty$"):
        PersonName(text)


@pytest.mark.parametrize("text", ["-", "...", "😀", "\u200d", "\u0301", "\u00a0"])
def test_a_name_without_a_letter_is_refused(text: str) -> None:
    """A name that cannot be read aloud, or even seen, was not typed on purpose."""
    with pytest.raises(InvalidValue, match=r"^name has no letter or digit in it$"):
        PersonName(text)


@pytest.mark.parametrize("control", LINE_BREAKS_AND_CONTROLS, ids=ascii)
def test_a_name_with_a_line_break_or_a_control_character_is_refused(control: str) -> None:
    """A line break in a name would let its owner write headers into our e-mails."""
    with pytest.raises(InvalidValue, match=r"^name has a line break, a control character"):
        PersonName(f"Ив{control}ан")


@pytest.mark.parametrize("text", ["\nИван", "Иван\n", "Иван\r\n ", " \tИван"], ids=ascii)
def test_a_line_break_around_a_name_is_not_stripped_but_refused(text: str) -> None:
    """A line break at the end is where an attack begins, so it is never taken for a space."""
    with pytest.raises(InvalidValue, match=r"^name has a line break"):
        PersonName(text)


@pytest.mark.parametrize("text", ["=?utf-8?q?Ivan=0A?=", "Иван =?"])
def test_a_name_with_the_mark_of_an_encoded_word_is_refused(text: str) -> None:
    """In a mail header it would be decoded: a line break in disguise."""
    with pytest.raises(InvalidValue, match=r"^name has =\? in it$"):
        PersonName(text)


def test_a_name_may_be_as_long_as_the_limit_and_no_longer() -> None:
    """The limit counts characters, so that it is the same in every script."""
    longest = "И" * MAX_NAME_LENGTH

    assert str(PersonName(longest)) == longest
    with pytest.raises(InvalidValue, match=r"^name has 201 characters, 200 are allowed$"):
        PersonName(longest + "И")


def test_the_length_of_a_name_is_taken_after_it_was_tidied() -> None:
    """What is stored has to fit, not what was typed."""
    typed = "  " + "e\u0301" * MAX_NAME_LENGTH + "  "

    assert str(PersonName(typed)) == "\u00e9" * MAX_NAME_LENGTH


@given(text=texts)
@example(text="Ив\nан")
@example(text=" Rene\u0301 ")
@example(text="\udcffx")
@few
def test_every_accepted_name_is_one_tidy_line(text: str) -> None:
    """Whoever prints, stores or sends a name relies on this without looking."""
    name = _accepted(PersonName, text)

    assert_is_one_tidy_line(str(name), limit=MAX_NAME_LENGTH)


@given(text=texts)
@example(text="  Rene\u0301  ")
@few
def test_a_stored_name_is_read_back_unchanged(text: str) -> None:
    """A name that changed on its way through the database would look like other data."""
    name = _accepted(PersonName, text)

    again = PersonName(str(name))

    assert again == name
    assert str(again) == str(name)


@given(before=words, control=controls, after=words)
@few
def test_no_surroundings_hide_a_control_character_in_a_name(
    before: str, control: str, after: str
) -> None:
    """One gap in the check is enough for somebody who looks for it."""
    with pytest.raises(InvalidValue, match=r"^name "):
        PersonName(before + control + after)


@pytest.mark.parametrize(
    "text",
    [
        "ivan@example.com",
        "first.last+tag@sub.example.co.uk",
        "иван@пример.рф",
        "o'neill@example.com",
        "a_b-c@xn--e1afmkfd.xn--p1ai",
        "marketing@localhost",
        "1@2.de",
    ],
)
def test_an_address_may_be_written_in_any_script(text: str) -> None:
    """Addresses outside ASCII have been standard since RFC 6531."""
    assert str(EmailAddress(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "ivan",
        "ivan@",
        "@example.com",
        "@",
        "ivan@@example.com",
        "ivan@home@example.com",
        "ivan smith@example.com",
        "ivan@exam ple.com",
        ".ivan@example.com",
        "ivan.@example.com",
        "ivan..smith@example.com",
        "ivan@.example.com",
        "ivan@example.com.",
        "ivan@example..com",
        "ivan@-example.com",
        "ivan@example-.com",
        "Ivan <ivan@example.com>",
        "ivan@example.com,anna@example.com",
        "ivan@example.com;anna@example.com",
        '"ivan"@example.com',
        "ivan@[127.0.0.1]",
        "ivan\u00a0smith@example.com",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """A typing error found now is a coupon that arrives; and one address is never two."""
    with pytest.raises(InvalidValue, match=r"^e-mail address .* is not of the form") as refusal:
        EmailAddress(text)

    assert repr(text) in str(refusal.value)


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_address_is_refused(text: str) -> None:
    """The message says which of the two inputs is missing."""
    with pytest.raises(InvalidValue, match=r"^e-mail address is empty$"):
        EmailAddress(text)


@pytest.mark.parametrize("control", LINE_BREAKS_AND_CONTROLS, ids=ascii)
def test_an_address_with_a_line_break_or_a_control_character_is_refused(control: str) -> None:
    """A line break in an address would add recipients to our e-mails."""
    with pytest.raises(InvalidValue, match=r"^e-mail address has a line break, a control"):
        EmailAddress(f"iv{control}an@example.com")


@pytest.mark.parametrize("text", ["\nivan@example.com", "ivan@example.com\n"], ids=ascii)
def test_a_line_break_around_an_address_is_not_stripped_but_refused(text: str) -> None:
    """A line break at the end is where an attack begins, so it is never taken for a space."""
    with pytest.raises(InvalidValue, match=r"^e-mail address has a line break"):
        EmailAddress(text)


def test_an_address_with_the_mark_of_an_encoded_word_is_refused() -> None:
    """In a mail header it would be decoded: a second recipient in disguise."""
    with pytest.raises(InvalidValue, match=r"^e-mail address has =\? in it$"):
        EmailAddress("=?utf-8?q?anna=40example.com=2C?=@example.com")


def test_an_address_keeps_its_spelling() -> None:
    """Strictly, only the receiving host may say that IVAN and ivan are one mailbox."""
    assert str(EmailAddress(" Ivan@Example.COM ")) == "Ivan@Example.COM"


@pytest.mark.parametrize(
    "other", ["IVAN@EXAMPLE.COM", "Ivan@example.com", "ivan@Example.Com", " ivan@example.com "]
)
def test_addresses_that_differ_in_case_are_the_same(other: str) -> None:
    """Nobody registers twice by holding the shift key."""
    address, same = EmailAddress("ivan@example.com"), EmailAddress(other)

    assert same == address
    assert same.key == address.key
    assert len({address, same}) == 1


@pytest.mark.parametrize("name", ["иван", "weiß", "νίκος", "ma\u0390ou", "\u01f0an", "ﬁona"])
def test_case_is_ignored_in_every_script(name: str) -> None:
    """Иван gets no second coupon either; and some letters have a capital of two or three parts."""
    address = EmailAddress(f"{name}@example.com")

    assert EmailAddress(f"{name.upper()}@example.com") == address


def test_an_address_is_the_same_however_its_accents_are_encoded() -> None:
    """Two keyboards write é in two ways; the mailbox is one."""
    composed, decomposed = "ren\u00e9@example.com", "REne\u0301@example.com"

    address = EmailAddress(decomposed)

    assert address == EmailAddress(composed)
    assert str(address) == "REn\u00e9@example.com"


def test_different_addresses_differ() -> None:
    """Two people may differ in one letter."""
    assert EmailAddress("ivan@example.com") != EmailAddress("iwan@example.com")
    assert EmailAddress("ivan@example.com") != EmailAddress("ivan@example.org")


def test_an_address_may_be_as_long_as_the_limits_and_no_longer() -> None:
    """Longer addresses do not travel: RFC 5321, 4.5.3.1."""
    longest_local_part = "a" * MAX_LOCAL_PART_LENGTH
    rest = MAX_EMAIL_LENGTH - len("a@.com")
    longest = f"a@{'b' * rest}.com"

    assert str(EmailAddress(f"{longest_local_part}@example.com")).startswith(longest_local_part)
    assert str(EmailAddress(longest)) == longest
    with pytest.raises(InvalidValue, match=r"^e-mail address has more than 64 characters before"):
        EmailAddress(f"a{longest_local_part}@example.com")
    with pytest.raises(InvalidValue, match=r"^e-mail address has 255 characters, 254 are allowed$"):
        EmailAddress(f"a{longest}")


@given(text=st.builds("{}@{}".format, texts, domains))
@example(text="iv\nan@example.com")
@example(text="iv\u202ean@example.com")
@example(text=" rene\u0301@example.com ")
@few
def test_every_accepted_address_is_one_tidy_line(text: str) -> None:
    """Whoever puts an address into a header relies on this without looking."""
    address = _accepted(EmailAddress, text)

    assert_is_one_tidy_line(str(address), limit=MAX_EMAIL_LENGTH)
    assert str(address).count("@") == 1
    assert len(str(address).split()) == 1


@given(local_part=texts, domain=domains)
@example(local_part="Rene\u0301", domain="Example.COM")
@few
def test_a_stored_address_is_read_back_unchanged(local_part: str, domain: str) -> None:
    """An address that changed on its way through the database could be taken a second time."""
    address = _accepted(EmailAddress, f"{local_part}@{domain}")

    again = EmailAddress(str(address))

    assert again == address
    assert str(again) == str(address)


@given(local_part=texts, domain=domains)
@example(local_part="STRASSE", domain="example.com")
@example(local_part="\u1fb7", domain="example.com")  # its title case is two characters
@few
def test_addresses_are_equal_just_if_unicode_says_they_differ_in_case_only(
    local_part: str, domain: str
) -> None:
    """One script missed is a user registered twice. (The Unicode Standard, definition D145.)"""
    address = _accepted(EmailAddress, f"{local_part}@{domain}")

    for other in (str(address).upper(), str(address).title(), str(address).casefold()):
        assert (_accepted(EmailAddress, other) == address) == (
            unicodedata.normalize("NFD", unicodedata.normalize("NFD", other).casefold())
            == unicodedata.normalize("NFD", unicodedata.normalize("NFD", str(address)).casefold())
        )


@given(before=words, control=controls, after=words)
@few
def test_no_surroundings_hide_a_control_character_in_an_address(
    before: str, control: str, after: str
) -> None:
    """One gap in the check is enough for somebody who looks for it."""
    with pytest.raises(InvalidValue, match=r"^e-mail address "):
        EmailAddress(f"{before}{control}{after}@example.com")


@pytest.mark.parametrize("text", ["WELCOME", "a", "7", "spring-2026", "A_b-3", "x" * 40])
def test_a_reference_is_of_letters_digits_dashes_and_underscores(text: str) -> None:
    """It becomes the first part of every coupon code, so it has to be easy to type."""
    assert str(BatchReference(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        " A",
        "A ",
        "A B",
        "-A",
        "A\n",
        "A\x00",
        "\ud800",
        "ВЕСНА",
        "é",
        "CAFÉ",
        "Ａ",
        "A/B",
        "x" * 41,
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
    """A batch of no coupons, or of less than none, is a mistake of whoever adds it."""
    with pytest.raises(InvalidValue, match=rf"^quantity {number} is not between 1 and 1000000000$"):
        Quantity(number)


@pytest.mark.parametrize(
    "value",
    [PersonName("Иван"), EmailAddress("ivan@example.com"), BatchReference("A"), Quantity(1)],
    ids=lambda value: type(value).__name__,
)
def test_a_value_object_cannot_be_changed(
    value: PersonName | EmailAddress | BatchReference | Quantity,
) -> None:
    """What was checked once stays right only if nobody can write past the check."""
    before = value.value

    with pytest.raises(FrozenInstanceError):
        value.value = ""  # type: ignore[misc]  # what mypy refuses is what is tried here

    assert value.value == before


def assert_is_one_tidy_line(value: str, *, limit: int) -> None:
    assert not any(unicodedata.category(c) in {"Cc", "Cf"} for c in value if c not in JOINERS)
    assert value.splitlines() == [value]
    assert value.strip(" ") == value
    assert unicodedata.is_normalized("NFC", value)
    assert 1 <= len(value) <= limit
    assert value.encode().decode() == value


def _accepted(make: Callable[[str], V], text: str) -> V:
    try:
        return make(text)
    except InvalidValue:
        reject()
