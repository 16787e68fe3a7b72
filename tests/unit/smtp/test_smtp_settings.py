"""The settings of the room "smtp": its URL has another name than it once had."""

import pytest

from allocation.adapters.smtp.old_name import NAME, OLD_NAME
from allocation.config import load
from allocation.domain.exceptions import InvalidValue


def test_the_old_name_of_the_mail_url_still_works() -> None:
    """An update must not stop the e-mails of those who have set it."""
    settings = load({}, {OLD_NAME: "smtp://mail.example.com"})

    assert settings.mail_url == "smtp://mail.example.com"


def test_the_old_and_the_new_name_may_both_be_set_to_the_same() -> None:
    """So that a deployment can be changed one step after the other."""
    url = "smtp://mail.example.com"

    settings = load({}, {NAME: url, OLD_NAME: url})

    assert settings.mail_url == url


def test_an_old_and_a_new_name_that_differ_are_refused() -> None:
    """One of the two would silently not mean what it says."""
    environment = {
        NAME: "maildir:hunter2",
        OLD_NAME: "smtp://hunter2",
    }

    with pytest.raises(InvalidValue) as caught:
        load({}, environment)

    assert "ALLOCATION_MAIL_URL and ALLOCATION_SMTP_URL" in str(caught.value)
    assert "hunter2" not in str(caught.value)
