"""The settings of this application, beside those of the engine."""

import pytest
from aftercommit import InvalidValue
from aftercommit.extensions.smtp.settings import mail_folder

from allocation.entrypoints.app import APP


def test_without_any_setting_the_defaults_hold() -> None:
    """The program runs at once after it is installed, and keeps its e-mails in a folder."""
    settings = APP.load({}, {})

    assert settings.database_url == "sqlite:///allocation.db"
    assert str(mail_folder(settings)) == "allocation-mail"


def test_an_address_that_is_none_is_refused() -> None:
    """At start, not when the first e-mail fails."""
    with pytest.raises(InvalidValue, match="^ALLOCATION_MARKETING_EMAIL is not an e-mail address$"):
        APP.load({}, {"ALLOCATION_MARKETING_EMAIL": "nobody"})


def test_secrets_do_not_show_in_repr() -> None:
    """A repr is what ends up in logs and error reports."""
    settings = APP.load({"database_url": "postgresql://ivan:hunter2@db.example.com/shop"})

    assert "hunter2" not in repr(settings)
    assert "marketing@example.com" in repr(settings)
