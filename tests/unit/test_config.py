"""The settings: where they come from, what is accepted, and what an error may say."""

import traceback
from dataclasses import replace

import pytest

from allocation.config import Settings, load
from allocation.domain.exceptions import InvalidValue
from allocation.rooms import EVENT_LOOPS, LOG_FORMATS

LOG_FORMAT = list(LOG_FORMATS)[-1]  # as EVENT_LOOPS[-1]: of a room, as a rule


def loaded(environment: dict[str, str]) -> Settings:
    """Return the settings of the core."""
    return replace(load({}, environment), of_rooms=())


def test_without_any_setting_the_defaults_hold() -> None:
    """The program runs at once after it is installed, and keeps its e-mails in a folder."""
    settings = load({}, {})

    assert settings.database_url == "sqlite:///allocation.db"
    assert settings.mail_url is None
    assert settings.mail_folder == "allocation-mail"
    assert settings.sender_email == "allocation@localhost"
    assert settings.backend == "asyncio"
    assert settings.log_level is None
    assert settings.log_format == "text"


def test_the_environment_is_read_and_converted() -> None:
    """A variable is text; the program works with numbers."""
    environment = {
        "ALLOCATION_DATABASE_URL": "sqlite:///other.db",
        "ALLOCATION_MAIL_URL": "smtp://mail.example.com",
        "ALLOCATION_SENDER_EMAIL": "shop@example.com",
        "ALLOCATION_MARKETING_EMAIL": "marketing@example.com",
        "ALLOCATION_BACKEND": EVENT_LOOPS[-1],
        "ALLOCATION_LOG_LEVEL": "debug",
        "ALLOCATION_LOG_FORMAT": LOG_FORMAT,
        "ALLOCATION_LEASE_SECONDS": "60",
        "ALLOCATION_HANDLER_TIMEOUT_SECONDS": "2.5",
        "ALLOCATION_RETRY_BASE_SECONDS": "0.1",
        "ALLOCATION_RETRY_FACTOR": "2",
        "ALLOCATION_RETRY_CAP_SECONDS": "1e3",
        "ALLOCATION_GRACE_SECONDS": "0.5",
        "ALLOCATION_MAX_ATTEMPTS": "3",
    }

    settings = loaded(environment)

    assert settings == Settings(
        database_url="sqlite:///other.db",
        mail_url="smtp://mail.example.com",
        sender_email="shop@example.com",
        marketing_email="marketing@example.com",
        backend=EVENT_LOOPS[-1],
        log_level="debug",
        log_format=LOG_FORMAT,
        lease_seconds=60.0,
        handler_timeout_seconds=2.5,
        retry_base_seconds=0.1,
        retry_factor=2.0,
        retry_cap_seconds=1000.0,
        grace_seconds=0.5,
        max_attempts=3,
    )


def test_the_environment_of_the_program_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise every test here would pass, and the program would read nothing."""
    monkeypatch.setenv("ALLOCATION_MARKETING_EMAIL", "marketing@example.com")

    settings = load({})

    assert settings.marketing_email == "marketing@example.com"


def test_variables_of_others_are_left_alone() -> None:
    """Other programs share the environment, and some have a DATABASE_URL too."""
    settings = loaded({"DATABASE_URL": "sqlite:///other.db", "ALLOCATION_UNKNOWN": "1"})

    assert settings == Settings()


def test_an_option_wins_over_the_environment() -> None:
    """What was typed is meant more than what was set long ago."""
    environment = {"ALLOCATION_BACKEND": "asyncio", "ALLOCATION_LOG_FORMAT": LOG_FORMAT}

    settings = load({"backend": EVENT_LOOPS[-1], "log_format": None}, environment)

    assert settings.backend == EVENT_LOOPS[-1]
    assert settings.log_format == LOG_FORMAT


def test_an_option_wins_even_over_an_unacceptable_variable() -> None:
    """A wrong variable can be worked around without being able to change it."""
    settings = load({"max_attempts": 3}, {"ALLOCATION_MAX_ATTEMPTS": "many"})

    assert settings.max_attempts == 3


def test_an_empty_variable_counts_as_unset() -> None:
    """Shells and containers can often empty a variable, but not remove it."""
    environment = {
        "ALLOCATION_MAIL_URL": "",
        "ALLOCATION_LOG_LEVEL": "",
        "ALLOCATION_MAX_ATTEMPTS": "",
    }

    settings = loaded(environment)

    assert settings == Settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALLOCATION_LEASE_SECONDS", "hunter2"),
        ("ALLOCATION_LEASE_SECONDS", "0"),
        ("ALLOCATION_LEASE_SECONDS", "-73"),
        ("ALLOCATION_LEASE_SECONDS", "nan"),
        ("ALLOCATION_LEASE_SECONDS", "inf"),
        ("ALLOCATION_HANDLER_TIMEOUT_SECONDS", "20s"),
        ("ALLOCATION_RETRY_BASE_SECONDS", "-73"),
        ("ALLOCATION_RETRY_FACTOR", "0.73"),
        ("ALLOCATION_RETRY_CAP_SECONDS", "9e99"),
        ("ALLOCATION_GRACE_SECONDS", "0"),
        ("ALLOCATION_GRACE_SECONDS", "-73"),
        ("ALLOCATION_MAX_ATTEMPTS", "0"),
        ("ALLOCATION_MAX_ATTEMPTS", "7.3"),
        ("ALLOCATION_MAX_ATTEMPTS", "many"),
        ("ALLOCATION_BACKEND", "twisted"),
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


@pytest.mark.parametrize("value", ["it's hunter2", "'hunter2'", "hunter2 'x' y"])
def test_a_value_with_quotes_is_not_repeated_either(value: str) -> None:
    """A secret in the wrong variable must not end in a log."""
    with pytest.raises(InvalidValue) as caught:
        load({}, {"ALLOCATION_BACKEND": value})

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "complaint"),
    [
        ("ALLOCATION_DISPATCH", "is not valid UTF-8"),
        ("ALLOCATION_LOG_LEVEL", "is not valid UTF-8"),
        ("ALLOCATION_BACKEND", "is not acceptable: none of asyncio"),
        ("ALLOCATION_LOG_FORMAT", "is not acceptable: none of text"),
    ],
)
def test_a_value_that_is_not_utf8_is_refused(variable: str, complaint: str) -> None:
    """The shell lets anything through."""
    with pytest.raises(InvalidValue, match=f"^{variable} {complaint}"):
        load({}, {variable: "\udcff"})


@pytest.mark.parametrize("variable", ["ALLOCATION_SENDER_EMAIL", "ALLOCATION_MARKETING_EMAIL"])
def test_an_address_that_is_none_is_refused(variable: str) -> None:
    """At start, not when the first e-mail fails."""
    with pytest.raises(InvalidValue, match=f"^{variable} is not an e-mail address$"):
        load({}, {variable: "nobody"})


@pytest.mark.parametrize(
    "variable",
    [
        "ALLOCATION_BACKEND",
        "ALLOCATION_LOG_LEVEL",
        "ALLOCATION_LOG_FORMAT",
        "ALLOCATION_LEASE_SECONDS",
        "ALLOCATION_MAX_ATTEMPTS",
    ],
)
def test_an_unacceptable_value_is_not_repeated(variable: str) -> None:
    """It may be a password that went into the wrong variable, and errors get logged."""
    environment = {variable: "hunter2"}

    with pytest.raises(InvalidValue) as caught:
        load({}, environment)

    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("handler_timeout", [30.0, 31.0])
def test_a_handler_must_not_run_longer_than_its_lease(handler_timeout: float) -> None:
    """It could still run when another process takes its delivery over."""
    overrides = {"lease_seconds": 30.0, "handler_timeout_seconds": handler_timeout}

    with pytest.raises(InvalidValue) as caught:
        load(overrides, {})

    assert "ALLOCATION_HANDLER_TIMEOUT_SECONDS" in str(caught.value)
    assert "ALLOCATION_LEASE_SECONDS" in str(caught.value)


def test_the_first_pause_must_not_be_longer_than_the_longest() -> None:
    """One of the two would silently not mean what it says."""
    with pytest.raises(InvalidValue) as caught:
        load({"retry_base_seconds": 5.0, "retry_cap_seconds": 4.0}, {})

    assert "ALLOCATION_RETRY_BASE_SECONDS" in str(caught.value)
    assert "ALLOCATION_RETRY_CAP_SECONDS" in str(caught.value)


def test_equal_pauses_are_accepted() -> None:
    """It is how to ask for a pause that does not grow."""
    settings = load({"retry_base_seconds": 5.0, "retry_cap_seconds": 5.0}, {})

    assert settings.retry_base_seconds == settings.retry_cap_seconds == 5.0


def test_secrets_do_not_show_in_repr() -> None:
    """A repr is what ends up in logs and error reports."""
    environment = {
        "ALLOCATION_DATABASE_URL": "postgresql://ivan:hunter2@db.example.com/allocation",
        "ALLOCATION_MAIL_URL": "smtp://ivan:hunter2@mail.example.com",
    }

    settings = load({}, environment)

    assert "hunter2" not in repr(settings)
    assert "marketing@localhost" in repr(settings)


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
