"""The settings of this application, beside those of the engine."""

import pytest
from aftercommit.errors import InvalidValue

from allocation.config import Settings
from allocation.entrypoints.app import APP


def test_without_any_setting_the_defaults_hold() -> None:
    """The program runs at once after it is installed, and keeps its e-mails in a folder."""
    settings = APP.load({}, {})

    assert settings.database_url == "sqlite:///allocation.db"
    assert settings.mail_folder == "allocation-mail"
    assert settings.mail_from == "allocation@example.invalid"


@pytest.mark.parametrize("variable", ["ALLOCATION_MAIL_FROM", "ALLOCATION_MARKETING_EMAIL"])
def test_an_address_that_is_none_is_refused(variable: str) -> None:
    """At start, not when the first e-mail fails."""
    with pytest.raises(InvalidValue, match=f"^{variable} is not an e-mail address$"):
        APP.load({}, {variable: "nobody"})


def test_secrets_do_not_show_in_repr() -> None:
    """A repr is what ends up in logs and error reports."""
    settings = APP.load({"mail_url": "smtp://ivan:hunter2@mail.example.com"})

    assert "hunter2" not in repr(settings)
    assert "allocation@example.invalid" in repr(settings)


@pytest.mark.parametrize(
    ("database_url", "mail_url", "folder"),
    [
        ("sqlite:///shop.db", None, "shop-mail"),
        ("sqlite:////var/lib/shop.v2.sqlite", None, "/var/lib/shop.v2-mail"),
        ("sqlite+anyio:///data/shop?timeout=1", None, "data/shop-mail"),
        ("sqlite:///file:shop.db?uri=true", None, "shop-mail"),
        ("sqlite:///shop.db", "maildir:/var/mail/shop", "/var/mail/shop"),
        ("postgresql://db.example.com/shop", "maildir:mail", "mail"),
        ("sqlite:///shop.db", "smtp://mail.example.com", None),
        ("sqlite:///shop.db", "maildir:", None),
        ("postgresql://db.example.com/shop", None, None),
        ("sqlite://", None, None),
    ],
)
def test_emails_are_kept_where_one_says_or_beside_a_sqlite_file(
    database_url: str, mail_url: str | None, folder: str | None
) -> None:
    """Never nowhere: what is said to be kept has to be found."""
    settings = Settings(database_url=database_url, mail_url=mail_url)

    assert settings.mail_folder == folder
