"""Nobody writes the head of an e-mail: each way in refuses what a mailer would decode."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest
from aftercommit import Application
from aftercommit.extensions.brokers.cloud_events import from_cloud_event
from aftercommit.extensions.web.settings import WebSettings
from aftercommit.extensions.web.testing import http_client
from click.testing import Result

from allocation import views
from allocation.bootstrap import CODEC
from allocation.config import Settings
from allocation.domain.bases import InvalidValue
from allocation.entrypoints.app import APP
from allocation.entrypoints.broker_messages import ACCEPTED_FROM_BROKERS
from tests.builders import a_registration
from tests.commands import Shell
from tests.email_senders import RecordingEmailSender

ACCEPTED = {CODEC.name_of(each): each for each in ACCEPTED_FROM_BROKERS}
TOKEN = "t0ken-of-the-operator"
USER = a_registration()
HOSTILE = [
    "a@=?utf-8?q?evil.com=0D=0ABcc=3A_eve=40evil.com?=.com",
    "=?utf-8?q?ivan=2C?=@example.com",
    "ivan@example.com\r\nBcc: eve@evil.com",
    "ivan\n@example.com",
    "ivan\x00@example.com",
    "ivan\u2028@example.com",
    "ivan@example.com,eve@evil.com",
    "ivan@exa,mple.com",
    "Ivan <ivan@example.com>",
    "(eve)ivan@example.com",
    '"ivan"@example.com',
]
EACH = pytest.mark.parametrize("hostile", HOSTILE)


def register(shell: Shell, email: str) -> Result:
    return shell.run("register-user", "Иван", email)


def change(shell: Shell, email: str) -> Result:
    return shell.run("change-email", str(USER.user_id), email)


def import_one(shell: Shell, email: str) -> Result:
    with (shell.folder / "users.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("name", "email"), ("Иван", email)])
    return shell.run("import-users", "users.csv")


@EACH
@pytest.mark.parametrize("enter", [register, change, import_one])
def test_the_command_line_and_a_file_refuse_it(
    shell: Shell, enter: Callable[[Shell, str], Result], hostile: str
) -> None:
    """Also a file that was exported from somewhere else."""
    shell.run("register-user", USER.name, USER.email, "--user-id", str(USER.user_id))

    refused = enter(shell, hostile)

    assert refused.exit_code == (1 if enter is import_one else 2)
    assert "e-mail address" in refused.stderr
    assert shell.rows("SELECT email FROM users") == [(USER.email,)]
    assert len([*shell.folder.glob("allocation-mail/new/*")]) == 1  # the welcome of the first


@EACH
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_http_and_brokers_refuse_it(
    app: Application, app_settings: Settings, emails: RecordingEmailSender, hostile: str
) -> None:
    """Anybody may register, and other teams send what their own users have typed."""
    await app.bus.handle(USER)
    settings = replace(app_settings, of_extensions=(WebSettings(operator_token=TOKEN),))
    async with http_client(APP, settings, app) as client:
        answers = [
            await client.post("/users", json={"name": "Иван", "email": hostile}),
            await client.put(
                f"/users/{USER.user_id}/email",
                json={"email": hostile},
                headers={"Authorization": f"Bearer {TOKEN}"},
            ),
        ]
    assert [each.status_code for each in answers] == [422, 422]

    for name, data in {
        "register_user": {"user_id": str(uuid4()), "name": "Иван", "email": hostile},
        "change_email": {"user_id": str(USER.user_id), "new_email": hostile},
    }.items():
        said = {"specversion": "1.0", "id": str(uuid4()), "source": "/shop", "type": name}
        body = json.dumps({**said, "data": data}).encode()
        with pytest.raises(InvalidValue, match="e-mail address"):
            await app.bus.execute(*from_cloud_event(body, CODEC, ACCEPTED))

    async with views.users(app.database) as users:
        assert [row.email async for row in users] == [USER.email]
    assert {each.recipient for each in emails.sent} == {USER.email}
