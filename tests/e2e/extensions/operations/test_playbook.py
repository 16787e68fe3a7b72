"""The runbook of docs/operations.md: each symptom is produced, looked at, and mended as it says.

A part of the page has two blocks of commands. Between them a test does what the page says in words:
it gets a server back, or puts a file in its place.
"""

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import psycopg
import pytest
from aftercommit_tests.extensions.brokers.fixtures import tansu

from tests.consoles import Command, commands, shows
from tests.e2e.processes import (
    LIMIT_SECONDS,
    ROOT,
    TIMEOUT_SECONDS,
    Application,
    a_free_port,
    asked,
    owed,
    stat_of,
    wait_until,
)
from tests.e2e.smtp.mail_server import MailServer

PAGE = (ROOT / "docs" / "operations.md").read_text()
PART = re.compile(r"^### (?:\d+\. )?(.*?)\n(.*?)(?=^### |\Z)", re.MULTILINE | re.DOTALL)
SYMPTOMS: dict[str, str] = dict(PART.findall(PAGE.partition("## Runbook")[2]))
REGISTER = ("register-user", "Иван", "ivan@example.com")
REGISTER_ANOTHER = ("register-user", "Мария", "maria@example.com")
USER_ID = "7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11"
BROKEN_VIEW = """CREATE TRIGGER broken BEFORE UPDATE ON user_view
                 BEGIN SELECT RAISE(ABORT, 'broken'); END"""
AN_HOUR_LATE = "-3600"
LATER = "UPDATE aftercommit_deliveries SET available_at = available_at - 60"
"""A minute later, for the database."""


@dataclass
class Trouble:
    """What a test has to know of it: the words that a reader replaces, and how it is mended."""

    words: dict[str, str] = field(default_factory=dict)
    mend: Callable[[], object] = lambda: None


@pytest.fixture
def application(tmp_path: Path) -> Application:
    """The application, with e-mails kept in a folder."""
    return Application(tmp_path)


@contextmanager
def several_at_once(application: Application, mail: MailServer) -> Iterator[Trouble]:
    """One e-mail is parked, one waits, nobody works, and there is a stranger."""
    application.settings["mail_url"] = f"smtp://127.0.0.1:{a_free_port()}"
    application.run("add-coupon-batch", "WELCOME", "10")
    application.run(*REGISTER_ANOTHER, "--user-id", USER_ID, max_attempts="1")
    application.run("change-email", USER_ID, "maria@example.org")
    module = ("tests.e2e.extensions.operations.later",)
    with application.running(*REGISTER, module=module, dispatch="worker") as newer:
        assert newer.wait(TIMEOUT_SECONDS) == 0

    def mend() -> None:
        application.settings["mail_url"] = mail.url
        application.run("worker", "--until-idle")
        application.run("deliveries", "retry", "--all-parked")
        application.run("worker", "--until-idle")
        application.run("deliveries", "discard", event_of(application, "count_user"), "count_user")

    yield Trouble(mend=mend)


@contextmanager
def nobody_works(application: Application, _: MailServer) -> Iterator[Trouble]:
    application.run(*REGISTER, dispatch="worker")
    yield Trouble()


@contextmanager
def parked(application: Application, mail: MailServer) -> Iterator[Trouble]:
    application.mail, mail.refusing, mail.refusal = mail, True, "554 not accepted here"
    application.run(*REGISTER)

    def mend() -> None:
        mail.refusing = False

    yield Trouble({"EVENT_ID": event_of(application, "send_welcome_email")}, mend)


@contextmanager
def frozen(application: Application, mail: MailServer) -> Iterator[Trouble]:
    application.mail, mail.hold = mail, True
    application.run(*REGISTER, dispatch="worker")
    with application.running("worker", instance_name="worker-1") as worker:
        assert mail.holding.wait(LIMIT_SECONDS)
        wait_until(lambda: owed(application) == [("send_welcome_email", 1)])
        worker.send_signal(signal.SIGSTOP)
        wait_until(lambda: stat_of(worker.pid)[0] == "T")
        application.change(LATER)

        def mend() -> None:
            mail.hold = False
            mail.release.set()

        yield Trouble({"PID": str(worker.pid)}, mend)
        assert worker.wait(LIMIT_SECONDS) == -signal.SIGKILL


@contextmanager
def mail_server_down(application: Application, mail: MailServer) -> Iterator[Trouble]:
    application.settings["mail_url"] = f"smtp://127.0.0.1:{a_free_port()}"
    application.run(*REGISTER)
    yield Trouble(mend=lambda: application.settings.update(mail_url=mail.url))
    assert [to for to, _, _ in mail.received] == ["ivan@example.com"]


@contextmanager
def a_stranger(application: Application, mail: MailServer) -> Iterator[Trouble]:
    application.mail, module = mail, ("tests.e2e.extensions.operations.later",)
    with application.running(*REGISTER, module=module, dispatch="worker") as newer:
        assert newer.wait(TIMEOUT_SECONDS) == 0
    application.run("worker", "--until-idle")
    application.change(LATER)
    yield Trouble({"EVENT_ID": event_of(application, "count_user")})


@contextmanager
def an_old_schema(application: Application, mail: MailServer) -> Iterator[Trouble]:
    application.mail = mail
    application.run("db", "upgrade")
    application.module = "tests.later_schema"
    yield Trouble()


@contextmanager
def locked(application: Application, _: MailServer) -> Iterator[Trouble]:
    application.run(*REGISTER)
    application.settings["database_url"] = "sqlite:///allocation.db?timeout=0.1"
    lock = "import sqlite3; c = sqlite3.connect('allocation.db'); c.execute('BEGIN IMMEDIATE')"
    with subprocess.Popen(
        [sys.executable, "-c", f"{lock}; print('locked', flush=True); input()"],
        cwd=application.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == b"locked\n"
        yield Trouble({"PID": str(other.pid)})
        assert other.wait(LIMIT_SECONDS) == -signal.SIGTERM


@contextmanager
def a_wrong_clock(application: Application, _: MailServer) -> Iterator[Trouble]:
    module = ("tests.e2e.extensions.postgresql.skewed", AN_HOUR_LATE)
    with application.running(*REGISTER, module=module, dispatch="worker") as late:
        assert late.wait(TIMEOUT_SECONDS) == 0
    port = a_free_port()
    with application.running("worker", metrics_port=str(port)):
        wait_until(lambda: not owed(application))
        yield Trouble({"9464": str(port)})


@contextmanager
def broker_lost(application: Application, _: MailServer) -> Iterator[Trouble]:
    port = a_free_port()
    application.settings["broker_urls"] = f"kafka://127.0.0.1:{port}"
    application.run(*REGISTER)
    with ExitStack() as running:
        yield Trouble(mend=lambda: running.enter_context(tansu(port, topics=["allocation.events"])))


@contextmanager
def a_secret_is_missing(application: Application, _: MailServer) -> Iterator[Trouble]:
    secret = application.folder / "database_url"
    application.settings["database_url_file"] = str(secret)
    yield Trouble(mend=lambda: secret.write_text("sqlite:///allocation.db"))


@contextmanager
def no_coupon(application: Application, mail: MailServer) -> Iterator[Trouble]:
    application.mail = mail
    application.run("add-coupon-batch", "WELCOME", "1")
    application.run(*REGISTER)
    application.run(*REGISTER_ANOTHER)
    yield Trouble()
    coupons = [subject for to, subject, _ in mail.received if subject == "Your welcome coupon"]
    assert len(coupons) == 1


@contextmanager
def mail_only_kept(application: Application, mail: MailServer) -> Iterator[Trouble]:
    application.run(*REGISTER)
    yield Trouble(mend=lambda: application.settings.update(mail_url=mail.url))
    application.run(*REGISTER_ANOTHER)
    assert [to for to, _, _ in mail.received] == ["maria@example.com"]


@contextmanager
def an_old_list(application: Application, _: MailServer) -> Iterator[Trouble]:
    application.run(*REGISTER, "--user-id", USER_ID)
    application.change(BROKEN_VIEW)
    application.run("change-email", USER_ID, "ivan@example.org", max_attempts="1")
    application.change("DROP TRIGGER broken")
    yield Trouble()


@contextmanager
def a_lock_on_a_server(application: Application, mail: MailServer) -> Iterator[Trouble]:
    application.mail = mail
    application.run("add-coupon-batch", "WELCOME", "1")
    report = psycopg.connect(application.postgres_url or "", application_name="report")
    with closing(report):
        report.execute("SELECT * FROM coupon_batches FOR UPDATE")
        application.run(*REGISTER, handler_timeout_seconds="2")
        yield Trouble({"PID": str(report.info.backend_pid)})


@contextmanager
def to_be_paused(application: Application, mail: MailServer) -> Iterator[Trouble]:
    application.mail = mail
    application.run(*REGISTER, dispatch="worker")
    yield Trouble()


@contextmanager
def still_paused(application: Application, mail: MailServer) -> Iterator[Trouble]:
    application.mail = mail
    application.run(*REGISTER, dispatch="worker")
    application.run("deliveries", "pause", "send_welcome_email", "--by", "Maria")
    application.run("worker", "--until-idle")
    yield Trouble()


@contextmanager
def sent_twice(application: Application, mail: MailServer) -> Iterator[Trouble]:
    application.mail = mail
    application.run(*REGISTER, dispatch="worker")
    point = "inside send_welcome_email, after the effect"
    application.crash(point, "worker", "--until-idle", instance_name="worker-1")
    application.change(LATER)
    application.run("worker", "--until-idle")
    yield Trouble()
    assert [to for to, _, _ in mail.received] == ["ivan@example.com"] * 2


@contextmanager
def many_parked(application: Application, mail: MailServer) -> Iterator[Trouble]:
    application.mail, mail.refusing, mail.refusal = mail, True, "554 not accepted here"
    application.run(*REGISTER, "--user-id", USER_ID)
    application.run("change-email", USER_ID, "ivan@example.org")
    application.run(*REGISTER_ANOTHER)

    def mend() -> None:
        mail.refusing = False

    yield Trouble(mend=mend)
    assert [handler for handler, _ in owed(application)] == ["send_change_notice"]
    application.run("deliveries", "retry", "--all-parked")
    application.run("worker", "--until-idle")


@contextmanager
def an_event_that_cannot_be_read(application: Application, mail: MailServer) -> Iterator[Trouble]:
    """Its data change, and change back, as if another release read them."""
    application.mail, change = (
        mail,
        "UPDATE aftercommit_events SET data = replace(data, '{}', '{}')",
    )
    application.run(*REGISTER, dispatch="worker")
    application.change(change.format('"name"', '"full_name"'))
    application.run("worker", "--until-idle")
    event_id = event_of(application, "send_welcome_email")
    fix = partial(application.change, change.format('"full_name"', '"name"'))
    yield Trouble({"EVENT_ID": event_id}, fix)
    assert [to for to, _, _ in mail.received] == ["ivan@example.com"]


@contextmanager
def a_server_away(application: Application, mail: MailServer) -> Iterator[Trouble]:
    application.mail = mail
    application.run(*REGISTER, dispatch="worker")
    application.settings["database_url"] = f"postgresql://127.0.0.1:{a_free_port()}/allocation"
    yield Trouble({"USER_ID": USER_ID}, partial(application.settings.pop, "database_url"))
    assert sorted(to for to, _, _ in mail.received) == ["ivan@example.com", "maria@example.com"]


@contextmanager
def a_clock_was_ahead(application: Application, _: MailServer) -> Iterator[Trouble]:
    application.run(*REGISTER, dispatch="worker")
    application.change("UPDATE aftercommit_events SET recorded_at = recorded_at + 3600")
    application.change("UPDATE aftercommit_deliveries SET available_at = available_at + 3600")
    yield Trouble()


SCENARIOS = dict(
    zip(
        SYMPTOMS,
        (
            several_at_once,
            nobody_works,
            parked,
            frozen,
            mail_server_down,
            a_stranger,
            an_old_schema,
            locked,
            a_wrong_clock,
            broker_lost,
            a_secret_is_missing,
            no_coupon,
            mail_only_kept,
            an_old_list,
            a_lock_on_a_server,
            to_be_paused,
            still_paused,
            sent_twice,
            many_parked,
            an_event_that_cannot_be_read,
            a_server_away,
            a_clock_was_ahead,
        ),
        strict=True,
    )
)


def event_of(application: Application, handler: str) -> str:
    """Return the id of the event that this handler owes something to, as a person sees it."""
    listed = application.run("deliveries", "list").stdout.splitlines()
    [event_id] = [line.split()[0] for line in listed if line.split()[1] == handler]
    return event_id


@pytest.mark.parametrize("symptom", SYMPTOMS)
def test_a_symptom_is_what_the_page_shows_and_is_mended_as_it_says(
    symptom: str,
    application: Application,
    mail_server: MailServer,
    request: pytest.FixtureRequest,
) -> None:
    """At night, nobody has the time to find out that a page is wrong."""
    if symptom.startswith("PostgreSQL"):
        application = replace(application, postgres_url=request.getfixturevalue("postgres_url"))
    look, do = (
        list(commands(block))
        for block in re.findall(r"```console\n(.*?)```", SYMPTOMS[symptom], re.DOTALL)
    )
    with SCENARIOS[symptom](application, mail_server) as trouble:
        for step in look:
            carry_out(application, step, trouble.words)
        trouble.mend()
        for step in do:
            carry_out(application, step, trouble.words)

    assert owed(application) == []


def test_the_other_commands_of_the_page_are_run_too(application: Application) -> None:
    """Those about backups are in test_backup.py."""
    rest, _, retention = PAGE.partition("## Runbook")[0].partition("## Retention")
    shown = rest.replace(rest.partition("## Back up")[2].partition("\n## ")[0], "")
    assert "```console" not in shown
    application.run("add-coupon-batch", "WELCOME", "10")
    application.run(*REGISTER, "--user-id", USER_ID)
    application.run("redeem-coupon", str(application.rows("SELECT code FROM coupons")[0][0]))

    for block in re.findall(r"```console\n(.*?)```", retention, re.DOTALL):
        for step in commands(block):
            carry_out(application, step, {"USER_ID": USER_ID})


def carry_out(application: Application, step: Command, words: dict[str, str]) -> None:
    """Run a command as the page has it, and compare what it prints with what the page shows."""
    command, shown = step.line, step.shown
    for word, value in words.items():
        command, shown = command.replace(word, value), tuple(x.replace(word, value) for x in shown)
    if found := re.fullmatch(r"curl -s http://127\.0\.0\.1:(\d+)(/\w+) \| grep (\S+)", command):
        _, text = asked(int(found[1]), found[2])
        printed, code = "\n".join(re.findall(rf"^.*{found[3]}.*$", text, re.MULTILINE)), 0
    elif command.startswith("allocation ") and "|" not in command:
        result = application.run(*shlex.split(command)[1:])
        printed, code = result.stdout + result.stderr, result.returncode
    else:
        printed, code = application.shell(command).stdout, 0
    assert shows(printed, shown), f"{command}\n{printed}"
    assert bool(code) == any(line.startswith("error: ") for line in shown), f"{command}: {code}"
