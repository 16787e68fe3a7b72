"""The errors of the domain say what has happened, in one sentence, and nothing that is a secret."""

import pytest

from allocation.domain.bases import DomainError, InvalidValue, RuleViolation
from allocation.domain.coupons import (
    CouponBatchAlreadyAdded,
    CouponCode,
    CouponIsExpired,
    CouponNotFound,
)
from allocation.domain.users import UserNotFound
from tests.builders import a_user_id


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (CouponBatchAlreadyAdded("SPRING", 10), "batch SPRING was already added with quantity 10"),
        (CouponIsExpired(), "the coupon has expired"),
        (InvalidValue("name", "is empty"), "name is empty"),
        (RuleViolation("there is {no} such thing"), "there is {no} such thing"),
    ],
)
def test_an_error_puts_facts_into_the_sentence_of_its_class(
    error: DomainError, sentence: str
) -> None:
    """Whoever raises it formats no message; one without a sentence of its own takes a text."""
    assert str(error) == sentence


def test_an_error_without_its_facts_is_a_bug() -> None:
    """It is found where it is raised, and not by a reader of a sentence with a gap."""
    with pytest.raises(IndexError):
        UserNotFound()

    assert str(UserNotFound(user_id := a_user_id())) == f"there is no user {user_id}"


def test_a_code_that_is_not_found_is_not_quoted() -> None:
    """It may be a real one, mistyped."""
    assert "x7" not in str(CouponNotFound(CouponCode("WELCOME-x7")))
