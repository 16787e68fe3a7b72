"""Settings in files: what is read, and what an error may say."""

import traceback
from pathlib import Path

import pytest
from aftercommit.errors import InvalidValue

from allocation.config import load


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("smtp://ivan:hunter2@mail.example.com\n", "smtp://ivan:hunter2@mail.example.com"),
        (" smtp://x \n\n", " smtp://x \n"),
    ],
)
def test_a_setting_can_be_in_a_file(tmp_path: Path, content: str, value: str) -> None:
    """Docker secrets are files; environments are shown by `ps` and `docker inspect`.

    Editors add one line break; everything else may belong to a password.
    """
    file = tmp_path / "secret"
    file.write_text(content)

    for setting in ("database_url", "mail_url"):
        settings = load({}, {f"ALLOCATION_{setting.upper()}_FILE": str(file)})
        assert getattr(settings, setting) == value


def test_an_empty_name_of_a_file_counts_as_unset() -> None:
    """Shells and containers can often empty a variable, but not remove it."""
    assert load({}, {"ALLOCATION_MAIL_URL_FILE": ""}).mail_url is None


def test_a_setting_and_its_file_together_are_refused(tmp_path: Path) -> None:
    """One of the two would silently not mean what it says."""
    file = tmp_path / "secret"
    file.write_text("hunter2")
    environment = {"ALLOCATION_MAIL_URL": "hunter2", "ALLOCATION_MAIL_URL_FILE": str(file)}

    with pytest.raises(InvalidValue, match="MAIL_URL and ALLOCATION_MAIL_URL_FILE are") as caught:
        load({}, environment)

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

    with pytest.raises(InvalidValue, match=f"^ALLOCATION_DATABASE_URL_FILE {complaint}$") as caught:
        load({}, {"ALLOCATION_DATABASE_URL_FILE": str(file)})

    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_value_in_a_file_is_checked_like_any_other(tmp_path: Path) -> None:
    """Every setting can be in a file, not only secrets."""
    file = tmp_path / "attempts"
    file.write_text("many\n")

    with pytest.raises(InvalidValue, match="^ALLOCATION_MAX_ATTEMPTS is not acceptable"):
        load({}, {"ALLOCATION_MAX_ATTEMPTS_FILE": str(file)})


def test_an_option_wins_even_over_a_missing_file() -> None:
    """A wrong variable can be worked around without being able to change it."""
    settings = load({"mail_url": "maildir:mail"}, {"ALLOCATION_MAIL_URL_FILE": "/no/such/file"})

    assert settings.mail_url == "maildir:mail"
