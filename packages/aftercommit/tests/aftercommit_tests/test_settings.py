"""The settings: where they come from, what is accepted, and what an error may say."""

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, get_args

import pytest
from aftercommit import EngineSettings, InvalidValue
from aftercommit.errors import WiringError

from aftercommit_tests.inside.settings import EventLoop, load
from aftercommit_tests.things.app import APP, Settings

LOG_FORMAT = APP.parts.log_formats[-1]  # of an extension, as a rule


def loaded(environment: Mapping[str, str], **options: object) -> Settings:
    """Return the settings of the core."""
    settings = load(
        Settings,
        options,
        environment.get,
        of_extensions=APP.parts.settings(),
        log_formats=APP.parts.log_formats,
    )
    return replace(settings, of_extensions=())


GIVEN: dict[str, tuple[str, Any]] = {
    "DATABASE_URL": ("sqlite:///other.db", "sqlite:///other.db"),
    "BELL_FILE": ("other.txt", "other.txt"),
    "EVENT_LOOP": (get_args(EventLoop)[-1],) * 2,
    "LOG_LEVEL": ("debug", "debug"),
    "LOG_FORMAT": (LOG_FORMAT, LOG_FORMAT),
    "LEASE_SECONDS": ("60", 60.0),
    "HANDLER_TIMEOUT_SECONDS": ("2.5", 2.5),
    "RETRY_INITIAL_SECONDS": ("5", 5.0),
    "RETRY_FACTOR": ("2", 2.0),
    "RETRY_MAX_SECONDS": ("5e0", 5.0),  # as the first: a pause that does not grow
    "SHUTDOWN_GRACE_SECONDS": ("0.5", 0.5),
    "MAX_ATTEMPTS": ("3", 3),
}


def test_the_environment_is_read_and_converted() -> None:
    """A variable is text; the program works with numbers."""
    settings = loaded({f"THINGS_{name}": text for name, (text, _) in GIVEN.items()})

    values: dict[str, Any] = {name.lower(): value for name, (_, value) in GIVEN.items()}
    assert settings == Settings(**values)


@pytest.mark.parametrize(
    "environment",
    [
        {"DATABASE_URL": "sqlite:///other.db", "THINGS_UNKNOWN": "1"},
        # shells and containers can often empty a variable, but not remove it
        {"THINGS_BELL_FILE": "", "THINGS_LOG_LEVEL": "", "THINGS_MAX_ATTEMPTS": ""},
    ],
)
def test_what_is_empty_or_somebody_elses_changes_nothing(environment: dict[str, str]) -> None:
    """Other programs share the environment, and some have a DATABASE_URL too."""
    assert loaded(environment) == Settings()


def test_an_option_wins_over_the_environment() -> None:
    """What was typed is meant more than what was set long ago, and may be wrong."""
    environment = {"THINGS_MAX_ATTEMPTS": "many", "THINGS_LOG_FORMAT": LOG_FORMAT}

    settings = loaded(environment, max_attempts=3, log_format=None)

    assert (settings.max_attempts, settings.log_format) == (3, LOG_FORMAT)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("LEASE_SECONDS", "hunter2"),
        ("LEASE_SECONDS", "0"),
        ("LEASE_SECONDS", "-73"),
        ("LEASE_SECONDS", "nan"),
        ("LEASE_SECONDS", "inf"),
        ("HANDLER_TIMEOUT_SECONDS", "20s"),
        ("RETRY_FACTOR", "0.73"),
        ("RETRY_MAX_SECONDS", "9e99"),
        ("MAX_ATTEMPTS", "0"),
        ("MAX_ATTEMPTS", "7.3"),
        ("EVENT_LOOP", "twisted"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_an_unacceptable_value_names_its_variable(setting: str, value: str) -> None:
    """Anyone who starts the program has to know what to correct; an option has the same name."""
    for environment, options in (
        ({f"THINGS_{setting}": value}, {}),
        ({}, {setting.lower(): value}),
    ):
        with pytest.raises(InvalidValue, match=f"^THINGS_{setting} is not acceptable"):
            loaded(environment, **options)


@pytest.mark.parametrize("setting", ["DISPATCH", "LOG_FORMAT", "INSTANCE_NAME"])
def test_a_value_that_is_not_utf8_is_refused(setting: str) -> None:
    """The shell lets anything through."""
    with pytest.raises(InvalidValue, match=f"^THINGS_{setting} is not valid UTF-8"):
        loaded({f"THINGS_{setting}": "\udcff"})


@pytest.mark.parametrize("value", ["hunter2", "it's hunter2", "'hunter2'", "hunter2 'x' y"])
@pytest.mark.parametrize("name", ["EVENT_LOOP", "LOG_FORMAT", "LEASE_SECONDS", "MAX_ATTEMPTS"])
def test_a_secret_is_shown_nowhere(name: str, value: str) -> None:
    """A password may go into the wrong variable; what errors and `repr` say gets logged.

    The application has given the URL a default, and nothing else.
    """
    with pytest.raises(InvalidValue) as caught:
        loaded({f"THINGS_{name}": value})
    settings = loaded({"THINGS_DATABASE_URL": f"postgresql://ivan:{value}@db.example.com/things"})

    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in repr(settings)
    assert "bell.txt" in repr(settings)


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
        loaded({}, **less, **more)

    for name in less | more:
        assert f"THINGS_{name.upper()}" in str(caught.value)


def test_what_no_setting_knows_is_a_mistake() -> None:
    """An option of the command line that nobody reads would have no effect, in silence."""
    with pytest.raises(TypeError, match="colour"):
        loaded({}, colour="red")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clashing(EngineSettings):
    """Has a setting that the engine has."""

    application: ClassVar[str] = "clashing"
    max_attempts: int = 7


@pytest.mark.parametrize(
    ("kind", "of_extensions", "name"),
    [(Clashing, [], "max_attempts"), (Settings, [Settings], "bell_file")],
)
def test_two_settings_of_one_name_are_a_mistake(
    kind: type[EngineSettings], of_extensions: list[type], name: str
) -> None:
    """One variable would set both."""
    with pytest.raises(WiringError, match=name):
        load(kind, {"database_url": "sqlite:///it.db"}, of_extensions=of_extensions)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("LEASE_SECOND", "LEASE_SECONDS"),
        ("LAESE_SECONDS", "LEASE_SECONDS"),  # two letters are others
        ("DATABASE_URL_FIEL", "DATABASE_URL_FILE"),
        ("LOGLEVEL", "LOG_LEVEL"),
    ],
)
def test_a_misspelt_setting_is_refused_at_start(wrong: str, meant: str) -> None:
    """Otherwise its default would hold, until somebody wonders."""
    with pytest.raises(InvalidValue, match=f"^THINGS_{wrong} is not read: .* THINGS_{meant} meant"):
        APP.load({}, {f"THINGS_{wrong}": "1"})

    assert APP.unknown_settings({f"THINGS_{wrong}": ""}) == []  # it counts as unset


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("COLOUR", None),
        ("HANDLER_TIMEOUT_IN_SECONDS", "THINGS_HANDLER_TIMEOUT_SECONDS"),  # three letters more
        ("MAIL_FROM", None),  # of an extension that is not listed
        ("PORT", None),
        ("BELL", None),  # a part of a name
    ],
)
def test_a_variable_that_is_no_setting_is_told_at_start(
    name: str,
    nearest: str | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It may be for something else, so nothing is refused."""
    monkeypatch.setenv(f"THINGS_{name}", "8000")
    [unknown] = APP.unknown_settings()

    APP.open(APP.load({}))

    assert (unknown.variable, unknown.nearest) == (f"THINGS_{name}", nearest)
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == f"THINGS_{name} {unknown.problem}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVICE_HOST", "10.0.0.7"),
        ("SERVICE_PORT", "8000"),
        ("SERVICE_PORT_HTTP", "8000"),
        ("PORT", "tcp://10.0.0.7:8000"),
        ("PORT_8000_TCP", "tcp://10.0.0.7:8000"),
        ("PORT_8000_TCP_ADDR", "10.0.0.7"),
        ("WORKER_SERVICE_HOST", "10.0.0.8"),
        ("WORKER_PORT_53_UDP", "udp://10.0.0.8:53"),
        ("BELL_FILE_FILE", "/run/secrets/bell"),
        ("TEST_POSTGRES_URL", "postgresql://"),
    ],
)
def test_variables_that_others_set_are_no_mistakes(name: str, value: str) -> None:
    """Kubernetes sets some for each service that is called as the application, and tests others."""
    assert APP.unknown_settings({f"THINGS_{name}": value}) == []
