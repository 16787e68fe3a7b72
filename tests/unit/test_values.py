"""The value objects refuse what is wrong when they are made, so nobody has to check them again."""

from collections.abc import Callable

import pytest

from allocation.domain import values
from allocation.domain.coupons import MAX_QUANTITY, BatchReference, CouponCode, Quantity
from allocation.domain.error_kinds import InvalidValue
from allocation.domain.values import (
    MAX_EMAIL_LENGTH,
    MAX_LABEL_LENGTH,
    MAX_LOCAL_PART_LENGTH,
    MAX_NAME_LENGTH,
    EmailAddress,
    PersonName,
)

Text = PersonName | EmailAddress
Make = Callable[[str], Text]

LINE_BREAKS_AND_CONTROLS = [
    *("\n", "\r", "\t", "\x00", "\x1b", "\x7f", "\x85", "\u2028", "\u2029"),
    *("\u00ad", "\u200b", "\ufeff"),  # invisible
    "\u202e",  # turns the direction of the rest of the line
    *("\ud800", "\udfff"),  # surrogates
]

both = pytest.mark.parametrize(
    ("what", "make", "within"),
    [("name", PersonName, "{}"), ("e-mail address", EmailAddress, "{}@example.com")],
    ids=["name", "address"],
)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        *((PersonName, name) for name in ("Иван", "O'Neill", "李小龍", "محمد", "X Æ A-12", "ไชยา")),
        *((PersonName, name) for name in ("Anna  Maria", "de Boer")),  # as the owner spells it
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
    assert make(str(value)) == value


@both
@pytest.mark.parametrize("text", ["", "   "])
def test_an_empty_text_is_refused(what: str, make: Make, within: str, text: str) -> None:
    """The message says which of the two inputs is missing."""
    with pytest.raises(InvalidValue, match=f"^{what} is empty$"):
        make(text)


FILLERS = "\u115f\u1160\u3164\uffa0"  # Hangul's: letters to Unicode, and invisible


@pytest.mark.parametrize("text", ["-", "...", "😀", "\u200d", "\u0301", "\u00a0", *FILLERS])
def test_a_name_without_a_visible_letter_is_refused(text: str) -> None:
    """A name that cannot be read aloud, or even seen, was not typed on purpose."""
    with pytest.raises(InvalidValue, match="^name "):
        PersonName(text)


@both
@pytest.mark.parametrize("control", LINE_BREAKS_AND_CONTROLS, ids=ascii)
def test_a_line_break_or_a_control_character_is_refused(
    what: str, make: Make, within: str, control: str
) -> None:
    """A line break would let its owner write headers, or recipients, into our e-mails.

    That is also where an attack begins, so no line break is stripped like a space.
    """
    text = within.format("ivan")
    for given_text in (within.format(f"iv{control}an"), f"{control}{text}", f"{text}{control} "):
        with pytest.raises(InvalidValue, match=f"^{what} has a line break, a control character"):
            make(given_text)


@both
@pytest.mark.parametrize("text", ["=?utf-8?q?Ivan=0A?=", "Ivan=?"])
def test_the_mark_of_an_encoded_word_is_refused(
    what: str, make: Make, within: str, text: str
) -> None:
    """In a mail header it would be decoded: a line break, or a second recipient, in disguise."""
    with pytest.raises(InvalidValue, match=rf"^{what} has =\? in it$"):
        make(within.format(text))


LABELS = ".".join(["b" * MAX_LABEL_LENGTH] * 3)
LONGEST_ADDRESS = f"{'a' * (MAX_EMAIL_LENGTH - len(f'@{LABELS}.com'))}@{LABELS}.com"


@pytest.mark.parametrize(
    ("make", "longest"),
    [
        (PersonName, "И" * MAX_NAME_LENGTH),
        (EmailAddress, LONGEST_ADDRESS),
        (EmailAddress, f"{'a' * MAX_LOCAL_PART_LENGTH}@example.com"),
    ],
    ids=["name", "address", "local part"],
)
def test_a_text_may_be_as_long_as_its_limit_and_no_longer(make: Make, longest: str) -> None:
    """Longer addresses do not travel: RFC 5321, 4.5.3.1."""
    assert str(make(longest)) == longest
    with pytest.raises(InvalidValue, match=r"has (more than 64|201|255) characters"):
        make(f"a{longest}")


def test_the_limit_counts_the_characters_that_are_stored() -> None:
    """It is the same on every keyboard."""
    assert str(PersonName("e\u0301" * MAX_NAME_LENGTH)) == "\u00e9" * MAX_NAME_LENGTH


@both
def test_a_text_that_is_far_too_long_is_refused_before_it_is_normalized(
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
def test_a_text_that_is_no_address_is_refused(text: str) -> None:
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
    assert len({address, same, EmailAddress(f"{name}@example.org")}) == 2


@pytest.mark.parametrize("text", ["WELCOME", "a", "7", "spring-2026", "A_b-3", "x" * 40])
def test_a_reference_is_of_letters_digits_dashes_and_underscores(text: str) -> None:
    """Every code begins with it, and people type codes, which are compared letter by letter."""
    assert str(BatchReference(text)) == CouponCode(text).value == text
    assert (BatchReference(text) == BatchReference(text.swapcase())) == (text == "7")


WRONG = [
    "",
    " ",
    " A",
    "A ",
    "A B",
    "-A",
    "_A",
    "A\n",
    "A\x00",
    "\ud800",
    "A/B",
    "ВЕСНА",
    "é",
    "Ａ",
]


@pytest.mark.parametrize("text", [*WRONG, "x" * 41], ids=ascii)
def test_any_other_reference_is_refused(text: str) -> None:
    """The message shows the reference on one line, with what is invisible spelled out."""
    with pytest.raises(InvalidValue, match=r"^reference .* is not 1 to 40 of") as refusal:
        BatchReference(text)

    assert repr(text) in str(refusal.value)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("text", [*WRONG, "x" * 81], ids=ascii)
def test_any_other_code_is_refused_and_not_repeated(text: str) -> None:
    """A code with a slip of the finger in it is nearly the code: every message is the same."""
    rule = "1 to 80 of A-Z, a-z, 0-9, - and _, with no - or _ first"
    with pytest.raises(InvalidValue, match=f"^coupon code is not {rule}$"):
        CouponCode(text)


@pytest.mark.parametrize("number", [0, -1, MAX_QUANTITY + 1, 2**63])
def test_a_quantity_is_a_number_from_one_to_a_thousand_million(number: int) -> None:
    """The limit is far above every campaign, and far below what a database overflows at."""
    assert [Quantity(allowed).value for allowed in (1, MAX_QUANTITY)] == [1, 10**9]
    with pytest.raises(InvalidValue, match=rf"^quantity {number} is not between 1 and 1000000000$"):
        Quantity(number)
