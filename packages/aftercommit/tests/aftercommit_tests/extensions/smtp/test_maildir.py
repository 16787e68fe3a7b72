"""E-mail that is kept in a folder: what is in it, for whom, and what a repetition does."""

import logging
import mailbox
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from pathlib import Path

import anyio
import pytest
from aftercommit import IdempotencyKey, Refused

from aftercommit_tests.extensions.smtp.sending import APPLICATION, SENDER, Email
from aftercommit_tests.inside.smtp import MaildirEmailSender

EVENT_ID = "6f1d2c3b-0000-4000-8000-000000000001"
KEY = IdempotencyKey(f"{EVENT_ID}:send_letter")
OTHER_KEY = IdempotencyKey(f"{EVENT_ID}:send_another")
EMAIL = Email(recipient="иван@пример.рф", subject="A letter, Иван", text="Hello Иван,\n\nhunter2\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where e-mails are kept; it is not there yet."""
    return tmp_path / "shop-mail"


def send(folder: Path, *keys: IdempotencyKey, backend: str) -> None:
    """Send the same e-mail with each of these keys, all at once."""
    sender = MaildirEmailSender(folder, sender=SENDER, application=APPLICATION)

    async def send_one(key: IdempotencyKey) -> None:
        await sender.send(EMAIL, idempotency_key=key)

    async def send_all() -> None:
        async with anyio.create_task_group() as group:
            for key in keys:
                group.start_soon(send_one, key)

    anyio.run(send_all, backend=backend)


def kept_in(folder: Path) -> list[EmailMessage]:
    """Read the folder as mail programs do."""
    box = mailbox.Maildir(folder, create=False)
    contents = [box.get_bytes(key) for key in box.iterkeys()]
    return [message_from_bytes(content, policy=policy.default) for content in contents]


def test_a_kept_email_can_be_read_by_a_mail_program(
    folder: Path, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is all there, in any script, under an id that a repetition shares; and not in a log."""
    caplog.set_level(logging.DEBUG)

    send(folder, KEY, backend=backend)

    [kept] = kept_in(folder)
    assert (kept["From"], kept["To"]) == ("shop@example.com", "иван@пример.рф")
    assert kept["Subject"] == "A letter, Иван"
    assert kept["Date"].datetime
    assert str(kept["Message-ID"]).strip() == f"<{EVENT_ID}.send_letter@shop>"
    assert kept.get_content() == "Hello Иван,\n\nhunter2\n"
    assert "hunter2" not in caplog.text


def test_a_repetition_is_no_second_email(folder: Path, backend: str) -> None:
    """Also of several at once: delivery is at least once, and the folder has each e-mail once."""
    send(folder, *[KEY] * 5, backend=backend)
    send(folder, KEY, OTHER_KEY, backend=backend)

    assert len(kept_in(folder)) == 2
    assert list((folder / "tmp").iterdir()) == []


def test_a_repetition_takes_the_place_of_the_first(folder: Path, backend: str) -> None:
    """A file that a power failure has cut is whole after the retry."""
    send(folder, KEY, backend=backend)
    [file] = (folder / "new").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:10])

    send(folder, KEY, backend=backend)

    assert len(file.read_bytes()) == len(whole)


def test_an_email_that_was_read_does_not_come_back(folder: Path, backend: str) -> None:
    """Mail programs move what they have shown, and mark it."""
    send(folder, KEY, backend=backend)
    [file] = (folder / "new").iterdir()
    file.rename(folder / "cur" / f"{file.name}:2,S")

    send(folder, KEY, backend=backend)

    assert len(kept_in(folder)) == 1
    assert [*(folder / "new").iterdir()] == []  # a mail program would take both for one


def test_only_the_owner_can_look_into_the_folder(folder: Path, backend: str) -> None:
    """Addresses are personal, and what is in a letter is private."""
    send(folder, KEY, backend=backend)

    modes = {path.name: path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())}
    assert modes == dict.fromkeys(("shop-mail", "tmp", "new", "cur"), 0o700)
    [file] = (folder / "new").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_made_is_an_error(folder: Path, backend: str) -> None:
    """The delivery is tried again; swallowing the error would lose the e-mail."""
    with pytest.raises(ExceptionGroup) as caught:
        send(folder / "mail", KEY, backend=backend)

    assert caught.group_contains(FileNotFoundError)


HOSTILE = [
    {"recipient": "a@=?utf-8?q?evil.com=0D=0AReply-To=3A_thief=40evil.com=0D=0A=0D=0AHello?=.com"},
    {"recipient": "=?utf-8?q?victim=40example.com=2C?=@evil.com"},
    {"recipient": "ivan@example.com, eve@example.com"},
    {"recipient": "ivan@example.com\r\nBcc: eve@example.com"},
    {"recipient": "ivan\0@example.com"},
    {"subject": "=?utf-8?q?Hello=0D=0ABcc=3A_eve=40example.com?="},
    {"subject": "Hello\r\nBcc: eve@example.com"},
]


@pytest.mark.parametrize("written", HOSTILE)
def test_nobody_writes_the_head_of_an_e_mail(folder: Path, written: dict[str, str]) -> None:
    """Whoever can choose an address or a subject would write headers, and the text, too.

    It is refused for good: another attempt would send the same.
    """
    sender = MaildirEmailSender(folder, sender=SENDER, application=APPLICATION)
    email = replace(EMAIL, **written)

    with pytest.raises(Refused, match="is not one line that is sent as it is"):
        anyio.run(partial(sender.send, email, idempotency_key=KEY))

    assert not folder.exists()
