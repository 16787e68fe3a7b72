"""The settings of the extension, and any setting in a file."""

import traceback
from pathlib import Path

import pytest
from aftercommit import InvalidValue

from aftercommit_tests.inside.operations import env_from_file
from aftercommit_tests.inside.settings import OperationsSettings, load
from aftercommit_tests.things.app import Settings


def loaded(**environment: str | Path) -> Settings:
    """Load the settings, from an environment that has these."""
    variables = {f"THINGS_{name.upper()}": str(value) for name, value in environment.items()}
    find = env_from_file(variables.get)
    return load(Settings, {}, find, of_extensions=[OperationsSettings])


@pytest.mark.parametrize(("text", "days"), [("", None), ("30", 30.0), ("0.5", 0.5)])
def test_history_is_kept_for_ever_unless_it_is_said(text: str, days: float | None) -> None:
    """A number of days, or parts of one; whether the settings were read or not."""
    assert loaded(retention_days=text).of(OperationsSettings).retention_days == days
    assert Settings().of(OperationsSettings).retention_days is None


@pytest.mark.parametrize("text", ["0", "-1", "30d", "nan", "inf", "1e9"])
def test_an_unacceptable_number_names_its_variable(text: str) -> None:
    """Zero would mean that everything goes at once: nobody means that."""
    with pytest.raises(InvalidValue, match="^THINGS_RETENTION_DAYS is not acceptable"):
        loaded(retention_days=text)


@pytest.mark.parametrize(
    ("content", "value"),
    [("sqlite:///a:hunter2\n", "sqlite:///a:hunter2"), (" sqlite:///x \n\n", " sqlite:///x \n")],
)
def test_a_setting_can_be_in_a_file(tmp_path: Path, content: str, value: str) -> None:
    """Docker secrets are files; environments are shown by `ps` and `docker inspect`.

    Editors add one line break; everything else may belong to a password.
    """
    (file := tmp_path / "secret").write_text(content)

    assert loaded(database_url_file=file).database_url == value
    assert loaded(database_url_file="").database_url == Settings().database_url  # counts as unset
    file.write_text("many\n")
    with pytest.raises(InvalidValue, match="^THINGS_MAX_ATTEMPTS is not acceptable"):
        loaded(max_attempts_file=file)


def test_a_setting_and_its_file_together_are_refused(tmp_path: Path) -> None:
    """One of the two would silently not mean what it says."""
    (file := tmp_path / "secret").write_text("hunter2")

    with pytest.raises(InvalidValue, match="DATABASE_URL and THINGS_DATABASE_URL_FILE") as caught:
        loaded(database_url="hunter2", database_url_file=file)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "names a file that cannot be read: No such file or directory"),
        (b"", "names an empty file"),
        (b"\n", "names an empty file"),
        (b"hunter2\xff", "names a file that is not valid UTF-8"),
    ],
)
def test_a_file_that_is_no_secret_is_refused_without_repeating_anything(
    content: bytes | None, complaint: str, tmp_path: Path
) -> None:
    """A default in the place of a missing secret would be another database; a path may be one."""
    file = tmp_path / "hunter2"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(InvalidValue, match=f"^THINGS_DATABASE_URL_FILE {complaint}$") as caught:
        loaded(database_url_file=file)

    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_an_option_wins_even_over_a_missing_file() -> None:
    """A wrong variable can be worked around without being able to change it."""
    find = env_from_file({"THINGS_BELL_FILE_FILE": "/no/such/file"}.get)

    assert load(Settings, {"bell_file": "a bell"}, find).bell_file == "a bell"
