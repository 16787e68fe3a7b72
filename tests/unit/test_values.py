"""The value objects refuse what is wrong when they are made, so nobody has to check them again."""

from collections.abc import Callable

import pytest

from allocation.domain import values
from allocation.domain.bases import InvalidValue
from allocation.domain.coupons import BatchReference, CouponCode
from allocation.domain.values import EmailAddress, PersonName, Text

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
    """The message says which of the inputs is missing."""
    with pytest.raises(InvalidValue, match=f"^{what} has 0 characters, not 1 to "):
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


@pytest.mark.parametrize("text", ["=?utf-8?q?Ivan=0A?=@example.com", "Ivan=?@example.com"])
def test_the_mark_of_an_encoded_word_is_refused_in_an_address(text: str) -> None:
    """In a mail header it would be decoded: a line break, or a second recipient, in disguise."""
    with pytest.raises(InvalidValue, match="is not of the form"):
        EmailAddress(text)


LABELS = ".".join(["b" * 63] * 3)  # RFC 1035, 2.3.4
LONGEST_ADDRESS = f"{'a' * (EmailAddress.longest - len(f'@{LABELS}.com'))}@{LABELS}.com"


@pytest.mark.parametrize(
    ("make", "longest"),
    [
        (PersonName, "И" * 200),
        (EmailAddress, LONGEST_ADDRESS),
        (EmailAddress, f"{'a' * 64}@example.com"),
        (BatchReference, "x" * 40),
        (CouponCode, "x" * 80),
    ],
    ids=["name", "address", "local part", "reference", "code"],
)
def test_a_text_may_be_as_long_as_its_limit_and_no_longer(make: Make, longest: str) -> None:
    """Longer addresses do not travel: RFC 5321, 4.5.3.1."""
    assert make(longest).value == longest
    with pytest.raises(InvalidValue, match=r"has (201|255|41|81) characters|is not of the form"):
        make(f"a{longest}")


def test_the_limit_counts_the_characters_that_are_stored() -> None:
    """It is the same on every keyboard."""
    assert str(PersonName("e\u0301" * PersonName.longest)) == "\u00e9" * PersonName.longest


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


CODES = pytest.mark.parametrize(
    ("what", "make"), [("reference", BatchReference), ("coupon code", CouponCode)]
)
WRONG = ["A B", "-A", "_A", "\ud800", "A/B", "ВЕСНА", "é", "Ａ", "", " ", "A\n", "A\x00", "x" * 81]


@CODES
@pytest.mark.parametrize("text", WRONG, ids=ascii)
def test_any_other_text_is_refused_and_not_repeated(what: str, make: Make, text: str) -> None:
    """A code with a slip of the finger in it is nearly the code, and codes are money."""
    with pytest.raises(InvalidValue, match=rf"^{what} (is not of|has)") as refusal:
        make(text)

    assert not text.strip() or text not in str(refusal.value)


def test_a_code_is_shown_by_nothing_that_prints_it() -> None:
    """It is money, and logs are read by many."""
    code = CouponCode("WELCOME-x7")

    assert "x7" not in f"{code} {code!r} {[code]}"
