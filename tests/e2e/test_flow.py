"""Real processes: a server, a worker and the command line share a database; and one is killed."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from pathlib import Path

import httpx
import pytest
from aftercommit_tests.extensions.smtp.hostile import endless, misbehaving, scripted, silent

from tests.programs import LIMIT_SECONDS, Program, stop, wait_for_line, wait_until

ROOT = Path(__file__).parents[2]
TOKEN = "t0ken-of-the-operator"
REGISTER = ("register-user", "Иван", "ivan@example.com")
SCHEMATHESIS = ("--checks=all", "--max-examples=3", "--seed=2026", "--no-color")
HOSTILE = {
    "drips": scripted(stuck_at="banner"),
    "greets without end": endless,
    "says nothing": silent,
}


@pytest.fixture
def backend() -> str:
    """HTTP is served on asyncio only."""
    return "asyncio"


@contextmanager
def serving(program: Program) -> Iterator[str]:
    """Run a server, which leaves the work to workers, and yield its URL; it ends when asked to."""
    serve = ("serve", "--port", "0")
    with program.running(*serve, operator_token=TOKEN, dispatch="worker") as server:
        line = wait_for_line(server.stdout, "listening on http://127.0.0.1:")
        yield re.findall(r"http://127\.0\.0\.1:\d+", line)[0]
        assert stop(server) == 0


def subjects_in(folder: Path) -> list[str]:
    """Return the subject of each e-mail once: a repetition has the Message-ID of the first one."""
    files = [file.read_bytes() for file in folder.glob("new/*")]
    messages = [message_from_bytes(content, policy=policy.default) for content in files]
    return sorted({message["Message-ID"]: str(message["Subject"]) for message in messages}.values())


def test_a_user_registers_and_redeems_a_coupon(program: Program, postgres_copy: str) -> None:
    """The server stores, the worker does what follows, and the command line shows it."""
    mail = program.folder / "mail"
    program.settings |= {"database_url": postgres_copy, "mail_url": f"maildir:{mail}"}
    operator = {"Authorization": f"Bearer {TOKEN}"}
    with (
        serving(program) as url,
        program.running("worker") as worker,
        httpx.Client(base_url=url, headers=operator, timeout=LIMIT_SECONDS) as client,
    ):
        client.post("/coupon-batches", json={"reference": "WELCOME", "quantity": 1})
        registered = client.post("/users", json={"name": "Иван", "email": "ivan@example.com"})
        user = registered.headers["Location"]
        wait_until(lambda: client.get(user).json()["coupon_code"])
        wait_until(lambda: {"Welcome", "Your welcome coupon"} <= {*subjects_in(mail)})
        code = client.get(user).json()["coupon_code"]
        redeemed = client.post("/coupon-redemptions", json={"code": code})
        assert (registered.status_code, redeemed.status_code) == (201, 204)
        assert stop(worker) == 0
    assert program.run("worker", "--until-idle").returncode == 0

    listed = json.loads(program.run("users", "--json").stdout)

    assert (listed["email"], listed["coupon_state"]) == ("ivan@example.com", "redeemed")
    assert subjects_in(mail) == ["Out of welcome coupons", "Welcome", "Your welcome coupon"]


def test_every_answer_is_documented(program: Program) -> None:
    """What the document lets be sent is answered as it says, and what it does not, is refused.

    Schemathesis reads the document from the server, makes requests of it, and checks each answer:
    by examples, at the limits of each value, at random, and one after the other by links.
    """
    hooks = {"SCHEMATHESIS_HOOKS": "tests.e2e.api_cases", "PYTHONPATH": str(ROOT)}
    configuration = program.folder / "schemathesis.toml"
    configuration.write_text(f'[auth.openapi.operator]\nbearer = "{TOKEN}"\n')
    command = ("-m", "schemathesis.cli", "--config-file", str(configuration), "run")
    with serving(program) as url:
        result = subprocess.run(
            [sys.executable, *command, *SCHEMATHESIS, f"{url}/openapi.json"],
            cwd=program.folder,
            env=os.environ | hooks,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
        )

    assert result.returncode == 0, result.stdout


@pytest.fixture
def killed(program: Program) -> Program:
    """A registration whose process was killed while its mail server kept it waiting."""
    program.run("add-coupon-batch", "WELCOME", "1")
    with misbehaving(silent) as server, program.running(*REGISTER, mail_url=server.url) as process:
        wait_until(lambda: server.connections >= 2)  # for the welcome and for the coupon
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
    assert subjects_in(mail) == ["Out of welcome coupons", "Welcome", "Your welcome coupon"]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_worker_ends_in_time_whatever_the_mail_server_does(
    hostile: str, program: Program
) -> None:
    """A deployment must not wait for a mail server; its e-mail is released for the next worker.

    The grace is shorter than the ten seconds after which the attempt would have failed.
    """
    with misbehaving(HOSTILE[hostile]) as server:
        program.settings |= {"mail_url": server.url, "shutdown_grace_seconds": "0.5"}
        assert program.run(*REGISTER, dispatch="worker").returncode == 0
        with program.running("worker") as worker:
            wait_until(lambda: server.connections)
            assert stop(worker) == 0

    assert "send_welcome_email" in dict(program.outstanding())
