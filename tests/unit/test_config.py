"""The settings: where they come from, what is accepted, and what an error may say."""

import traceback
from dataclasses import replace
from typing import Any

import pytest
from aftercommit.errors import InvalidValue
from aftercommit.settings import EVENT_LOOPS

from allocation.config import Settings, load
from allocation.extension_list import EXTENSIONS

LOG_FORMAT = EXTENSIONS.log_formats[-1]  # as EVENT_LOOPS[-1]: of an extension, as a rule


def loaded(environment: dict[str, str]) -> Settings:
    """Return the settings of the core."""
    return replace(load({}, environment), of_extensions=())


def test_without_any_setting_the_defaults_hold() -> None:
    """The program runs at once after it is installed, and keeps its e-mails in a folder."""
    settings = load({}, {})

    assert settings.database_url == "sqlite:///allocation.db"
    assert settings.mail_url is None
    assert settings.mail_folder == "allocation-mail"
    assert settings.mail_from == "allocation@example.invalid"
    assert settings.event_loop == "asyncio"
    assert settings.log_level is None
    assert settings.log_format == "text"


GIVEN = {
    "DATABASE_URL": ("sqlite:///other.db", "sqlite:///other.db"),
    "MAIL_URL": ("smtp://mail.example.com", "smtp://mail.example.com"),
    "MAIL_FROM": ("shop@example.com", "shop@example.com"),
    "MARKETING_EMAIL": ("marketing@example.com", "marketing@example.com"),
    "EVENT_LOOP": (EVENT_LOOPS[-1], EVENT_LOOPS[-1]),
    "LOG_LEVEL": ("debug", "debug"),
    "LOG_FORMAT": (LOG_FORMAT, LOG_FORMAT),
    "LEASE_SECONDS": ("60", 60.0),
    "HANDLER_TIMEOUT_SECONDS": ("2.5", 2.5),
    "RETRY_INITIAL_SECONDS": ("0.1", 0.1),
    "RETRY_FACTOR": ("2", 2.0),
    "RETRY_MAX_SECONDS": ("1e3", 1000.0),
    "SHUTDOWN_GRACE_SECONDS": ("0.5", 0.5),
    "MAX_ATTEMPTS": ("3", 3),
}


def test_the_environment_is_read_and_converted() -> None:
    """A variable is text; the program works with numbers."""
    settings = loaded({f"ALLOCATION_{name}": text for name, (text, _) in GIVEN.items()})

    values: dict[str, Any] = {name.lower(): value for name, (_, value) in GIVEN.items()}
    assert settings == Settings(**values)


def test_the_environment_of_the_program_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise every test here would pass, and the program would read nothing."""
    monkeypatch.setenv("ALLOCATION_MAIL_FROM", "shop@example.com")

    settings = load({})

    assert settings.mail_from == "shop@example.com"


@pytest.mark.parametrize(
    "environment",
    [
        {"DATABASE_URL": "sqlite:///other.db", "ALLOCATION_UNKNOWN": "1"},
        # shells and containers can often empty a variable, but not remove it
        {"ALLOCATION_MAIL_URL": "", "ALLOCATION_LOG_LEVEL": "", "ALLOCATION_MAX_ATTEMPTS": ""},
    ],
)
def test_what_is_empty_or_somebody_elses_changes_nothing(environment: dict[str, str]) -> None:
    """Other programs share the environment, and some have a DATABASE_URL too."""
    assert loaded(environment) == Settings()


def test_an_option_wins_over_the_environment() -> None:
    """What was typed is meant more than what was set long ago."""
    environment = {"ALLOCATION_EVENT_LOOP": "asyncio", "ALLOCATION_LOG_FORMAT": LOG_FORMAT}

    settings = load({"event_loop": EVENT_LOOPS[-1], "log_format": None}, environment)

    assert settings.event_loop == EVENT_LOOPS[-1]
    assert settings.log_format == LOG_FORMAT


def test_an_option_wins_even_over_an_unacceptable_variable() -> None:
    """A wrong variable can be worked around without being able to change it."""
    settings = load({"max_attempts": 3}, {"ALLOCATION_MAX_ATTEMPTS": "many"})

    assert settings.max_attempts == 3


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALLOCATION_LEASE_SECONDS", "hunter2"),
        ("ALLOCATION_LEASE_SECONDS", "0"),
        ("ALLOCATION_LEASE_SECONDS", "-73"),
        ("ALLOCATION_LEASE_SECONDS", "nan"),
        ("ALLOCATION_LEASE_SECONDS", "inf"),
        ("ALLOCATION_HANDLER_TIMEOUT_SECONDS", "20s"),
        ("ALLOCATION_RETRY_INITIAL_SECONDS", "-73"),
        ("ALLOCATION_RETRY_FACTOR", "0.73"),
        ("ALLOCATION_RETRY_MAX_SECONDS", "9e99"),
        ("ALLOCATION_SHUTDOWN_GRACE_SECONDS", "0"),
        ("ALLOCATION_SHUTDOWN_GRACE_SECONDS", "-73"),
        ("ALLOCATION_MAX_ATTEMPTS", "0"),
        ("ALLOCATION_MAX_ATTEMPTS", "7.3"),
        ("ALLOCATION_MAX_ATTEMPTS", "many"),
        ("ALLOCATION_EVENT_LOOP", "twisted"),
        ("ALLOCATION_LOG_LEVEL", "loud"),
        ("ALLOCATION_LOG_FORMAT", "xml"),
    ],
)
def test_an_unacceptable_value_names_its_variable(variable: str, value: str) -> None:
    """Whoever starts the program has to know what to correct."""
    with pytest.raises(InvalidValue, match=f"^{variable} is not acceptable"):
        load({}, {variable: value})


def test_an_unacceptable_option_names_its_variable() -> None:
    """The name of the option follows from it."""
    with pytest.raises(InvalidValue, match="^ALLOCATION_MAX_ATTEMPTS is not acceptable"):
        load({"max_attempts": 0}, {})


@pytest.mark.parametrize(
    ("variable", "complaint"),
    [
        ("ALLOCATION_DISPATCH", "is not valid UTF-8"),
        ("ALLOCATION_LOG_LEVEL", "is not valid UTF-8"),
        ("ALLOCATION_EVENT_LOOP", "is not valid UTF-8"),
        ("ALLOCATION_LOG_FORMAT", "is not valid UTF-8"),
        ("ALLOCATION_INSTANCE_NAME", "is not valid UTF-8"),
    ],
)
def test_a_value_that_is_not_utf8_is_refused(variable: str, complaint: str) -> None:
    """The shell lets anything through."""
    with pytest.raises(InvalidValue, match=f"^{variable} {complaint}"):
        load({}, {variable: "\udcff"})


@pytest.mark.parametrize("variable", ["ALLOCATION_MAIL_FROM", "ALLOCATION_MARKETING_EMAIL"])
def test_an_address_that_is_none_is_refused(variable: str) -> None:
    """At start, not when the first e-mail fails."""
    with pytest.raises(InvalidValue, match=f"^{variable} is not an e-mail address$"):
        load({}, {variable: "nobody"})


@pytest.mark.parametrize("value", ["hunter2", "it's hunter2", "'hunter2'", "hunter2 'x' y"])
@pytest.mark.parametrize(
    "name", ["EVENT_LOOP", "LOG_LEVEL", "LOG_FORMAT", "LEASE_SECONDS", "MAX_ATTEMPTS"]
)
def test_an_unacceptable_value_is_not_repeated(name: str, value: str) -> None:
    """It may be a password that went into the wrong variable, and errors get logged."""
    with pytest.raises(InvalidValue) as caught:
        load({}, {f"ALLOCATION_{name}": value})

    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("less", "more"),
    [
        # it could still run when another process takes its delivery over
        ({"handler_timeout_seconds": 30.0}, {"lease_seconds": 30.0}),
        ({"handler_timeout_seconds": 31.0}, {"lease_seconds": 30.0}),
        ({"retry_initial_seconds": 5.0}, {"retry_max_seconds": 4.0}),
    ],
)
def test_of_two_settings_that_do_not_fit_both_are_named(
    less: dict[str, float], more: dict[str, float]
) -> None:
    """One of the two would silently not mean what it says."""
    with pytest.raises(InvalidValue) as caught:
        load(less | more, {})

    for name in less | more:
        assert f"ALLOCATION_{name.upper()}" in str(caught.value)


def test_equal_pauses_are_accepted() -> None:
    """It is how to ask for a pause that does not grow."""
    settings = load({"retry_initial_seconds": 5.0, "retry_max_seconds": 5.0}, {})

    assert settings.retry_initial_seconds == settings.retry_max_seconds == 5.0


def test_secrets_do_not_show_in_repr() -> None:
    """A repr is what ends up in logs and error reports."""
    environment = {
        "ALLOCATION_DATABASE_URL": "postgresql://ivan:hunter2@db.example.com/allocation",
        "ALLOCATION_MAIL_URL": "smtp://ivan:hunter2@mail.example.com",
    }

    settings = load({}, environment)

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


def test_what_no_setting_knows_is_a_mistake() -> None:
    """An option of the command line that nobody reads would have no effect, in silence."""
    with pytest.raises(TypeError, match="colour"):
        load({"colour": "red"}, {})
