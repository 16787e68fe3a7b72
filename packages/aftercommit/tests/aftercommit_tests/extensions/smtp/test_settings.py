"""Where e-mails go, and who sends them: two settings."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
from aftercommit import App, Codec, EngineSettings, Handlers, InvalidValue
from aftercommit.extensions.smtp import SmtpExtension
from aftercommit.extensions.smtp.settings import mail_folder

from aftercommit_tests.inside.settings import SmtpSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(EngineSettings):
    """Those of a shop."""

    application: ClassVar[str] = "shop"


APP: App[Settings] = App(
    "shop",
    summary="Sell lamps.",
    handlers=Handlers[object, object](commands=[], events=[]),
    codec=Codec(source="/shop", events=[]),
    settings=Settings,
    open="none:none",
    database_url="sqlite:///shop.db",
    extensions=[SmtpExtension()],
)
make = APP.parts[-1].ports["emails"]


@pytest.mark.parametrize(
    ("database_url", "mail_url", "folder"),
    [
        ("sqlite:///shop.db", None, "shop-mail"),
        ("sqlite:////var/lib/shop.v2.sqlite", None, "/var/lib/shop.v2-mail"),
        ("sqlite+anyio:///data/shop?timeout=1", None, "data/shop-mail"),
        ("sqlite:///file:shop.db?uri=true", None, "shop-mail"),
        ("sqlite:///shop.db", "maildir:/var/mail/shop", "/var/mail/shop"),
        ("postgresql://db.example.com/shop", "maildir:mail", "mail"),
        ("sqlite:///shop.db", "smtp://mail.example.com", "None"),
        ("sqlite:///shop.db", "maildir:", "None"),
        ("postgresql://db.example.com/shop", None, "None"),
        ("sqlite://", None, "None"),
    ],
)
def test_emails_are_kept_where_one_says_or_beside_a_sqlite_file(
    database_url: str, mail_url: str | None, folder: str
) -> None:
    """Never nowhere: what is said to be kept has to be found."""
    settings = APP.load({"database_url": database_url, "mail_url": mail_url}, {})

    assert str(mail_folder(settings)) == folder


def test_whoever_delivers_needs_a_place_for_emails() -> None:
    """Beside a database on a server there is none by itself; who only looks needs none."""
    settings = APP.load({"database_url": "postgresql://db.example.com/shop"}, {})

    assert make(settings, delivers=False) is None
    with pytest.raises(InvalidValue, match="^SHOP_MAIL_URL is not set, and only a SQLite file"):
        make(settings, delivers=True)


def test_a_wrong_url_is_refused_by_all() -> None:
    """Also by a process that sends nothing: somebody will."""
    settings = APP.load({"mail_url": "smpt://ivan:hunter2@mail.example.com"}, {})

    with pytest.raises(InvalidValue, match="^mail URL is not of the form") as caught:
        make(settings, delivers=False)
    assert "hunter2" not in repr((settings, caught.value))


@pytest.mark.parametrize("address", ["nobody", "a b@example.com", "a@b@example.com", "<a@b.com>"])
def test_a_sender_that_is_no_address_is_refused(address: str) -> None:
    """At start, not when the first e-mail fails."""
    with pytest.raises(InvalidValue, match="^SHOP_MAIL_FROM is not acceptable"):
        APP.load({}, {"SHOP_MAIL_FROM": address})

    assert APP.load({}, {"SHOP_MAIL_FROM": "иван@пример.рф"}).of(SmtpSettings).mail_from
