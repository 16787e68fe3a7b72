"""Real processes: a server, a worker and the command line share a database; and one is killed."""

import json
import re
import signal
from email import message_from_bytes, policy
from pathlib import Path

import httpx
import pytest

from tests.integration.smtp.hostile import misbehaving, silent
from tests.programs import LIMIT_SECONDS, Process, Program, stop, wait_for_line, wait_until

TOKEN = "t0ken-of-the-operator"
REGISTER = ("register-user", "Иван", "ivan@example.com")


@pytest.fixture
def backend() -> str:
    """HTTP is served on asyncio only."""
    return "asyncio"


@pytest.fixture
def shared(program: Program, postgres_copy: str) -> Program:
    """The program on PostgreSQL, where servers leave the work to workers."""
    mail = f"maildir:{program.folder / 'mail'}"
    program.settings |= {"database_url": postgres_copy, "mail_url": mail, "dispatch": "worker"}
    return program


def client_of(server: Process) -> httpx.Client:
    """Return a client of a server, which may do all."""
    line = wait_for_line(server.stdout, "listening on http://127.0.0.1:")
    found = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert found, line
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return httpx.Client(base_url=found[0], headers=headers, timeout=LIMIT_SECONDS)


def subjects_in(folder: Path) -> list[str]:
    files = [file.read_bytes() for file in folder.glob("new/*")]
    messages = [message_from_bytes(content, policy=policy.default) for content in files]
    return sorted(str(message["Subject"]) for message in messages)


def test_a_user_registers_and_redeems_a_coupon(shared: Program) -> None:
    """The server stores, the worker does what follows, and the command line shows it."""
    serve = ("serve", "--port", "0")
    with (
        shared.running(*serve, operator_token=TOKEN) as server,
        shared.running("worker") as worker,
        client_of(server) as client,
    ):
        client.post("/coupon-batches", json={"reference": "WELCOME", "quantity": 1})
        registered = client.post("/users", json={"name": "Иван", "email": "ivan@example.com"})
        user = registered.headers["Location"]
        wait_until(lambda: client.get(user).json()["coupon_code"])
        wait_until(lambda: len(subjects_in(shared.folder / "mail")) == 2)
        code = client.get(user).json()["coupon_code"]
        redeemed = client.post("/coupon-redemptions", json={"code": code})
        assert (registered.status_code, redeemed.status_code) == (201, 204)
        assert (stop(server), stop(worker)) == (0, 0)
    assert shared.run("worker", "--until-idle").returncode == 0

    listed = json.loads(shared.run("users", "--json").stdout)

    assert (listed["email"], listed["coupon_state"]) == ("ivan@example.com", "redeemed")
    assert subjects_in(shared.folder / "mail") == ["Welcome", "Your welcome coupon"]


@pytest.fixture
def killed(program: Program) -> Program:
    """A registration whose process was killed while its mail server kept it waiting."""
    program.run("add-coupon-batch", "WELCOME", "1")
    with misbehaving(silent) as server, program.running(*REGISTER, mail_url=server.url) as process:
        wait_until(lambda: server.connections == 2)  # for the welcome and for the coupon
        process.send_signal(signal.SIGKILL)
        assert process.wait(LIMIT_SECONDS) == -signal.SIGKILL
    return program


def test_nothing_is_lost_and_nothing_is_doubled_by_a_kill(killed: Program) -> None:
    """No process had the chance to say goodbye: the deliveries are there, and a worker has them."""
    outstanding = {handler for handler, _ in killed.outstanding()}
    assert {"send_welcome_email", "send_coupon_email"} <= outstanding

    killed.end_leases()
    assert killed.run("worker", "--until-idle").returncode == 0

    assert killed.outstanding() == []
    assert killed.rows("SELECT email FROM registration_log") == [("ivan@example.com",)]
    assert killed.rows("SELECT coupon_state FROM user_view") == [("allocated",)]
    assert killed.rows("SELECT remaining FROM coupon_batches") == [(0,)]
    mail = killed.folder / "allocation-mail"
    assert subjects_in(mail) == ["Welcome", "Your welcome coupon"]
