"""The runbook, docs/runbook.md: each symptom is produced, looked at, and repaired as it says.

A part of the page has two blocks of commands. Between them a test does what the page says in words:
it gets a server back, or puts a file in its place.
"""

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from aftercommit_tests.extensions.brokers.fixtures import tansu
from aftercommit_tests.processes import LIMIT_SECONDS, a_free_port, asked, freeze, owed, wait_until

from checks.console_blocks import Command, commands, shows
from checks.mail_server import MailServer
from checks.processes import Application
from tools.repository import ROOT

pytestmark = pytest.mark.check

PAGE = (ROOT / "docs" / "runbook.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
PART = re.compile(r"^## (?:\d+\. |(?=Where))(.*?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
SYMPTOMS: dict[str, str] = dict(PART.findall(PAGE))
REGISTER = ("register-user", "Иван", "ivan@example.com")
REGISTER_ANOTHER = ("register-user", "Мария", "maria@example.com")
WORK = ("worker", "--until-idle")
USER_ID = "7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11"
REFUSED = "554 not accepted here"
BROKEN_VIEW = """CREATE TRIGGER broken BEFORE UPDATE ON user_view
                 BEGIN SELECT RAISE(ABORT, 'broken'); END"""
A_MINUTE_LATER = "UPDATE aftercommit_deliveries SET available_at = available_at - 60"
OF_A_NEWER_RELEASE = """
INSERT INTO aftercommit_deliveries
    (event_id, handler, attempts, token, available_at, schema_version)
SELECT id, 'count_user', 0, 0, 0, 1 FROM aftercommit_events
WHERE type = 'user_registered' AND data LIKE '%ivan@%'
"""

Words = dict[str, str]
"""The words of the page that a reader replaces."""
Scenario = Generator[Words, None, None]
"""Produces a symptom, yields, repairs what no command does; it may yield once more, and check."""


@contextmanager
def frozen_worker(application: Application, mail: MailServer) -> "Iterator[subprocess.Popen[str]]":
    """Run a worker that is frozen while it sends an e-mail, a minute ago."""
    mail.hold = True
    application.run(*REGISTER, dispatch="worker")
    with application.running("worker", instance_name="worker-1") as worker:
        assert mail.holding.wait(LIMIT_SECONDS)
        wait_until(lambda: owed(application) == [("send_welcome_email", 1)])
        freeze(worker, application)
        application.change(A_MINUTE_LATER)
        yield worker


def several_at_once(application: Application, mail: MailServer) -> Scenario:
    """One e-mail is parked, one waits, nobody works, and there is a stranger."""
    application.settings["mail_url"] = f"smtp://127.0.0.1:{a_free_port()}"
    application.run("add-coupon-batch", "WELCOME", "10")
    application.run(*REGISTER_ANOTHER, "--user-id", USER_ID, max_attempts="1")
    application.run("change-email", USER_ID, "maria@example.org")
    application.run(*REGISTER, dispatch="worker")
    application.change(OF_A_NEWER_RELEASE)
    yield {}
    del application.settings["mail_url"]
    application.run(*WORK)
    application.run("deliveries", "retry", "--all-parked")
    application.run(*WORK)
    application.run("deliveries", "discard", event_of(application, "count_user"), "count_user")


def nobody_works(application: Application, mail: MailServer) -> Scenario:
    application.run(*REGISTER, dispatch="worker")
    yield {}


def parked(application: Application, mail: MailServer) -> Scenario:
    mail.refusing, mail.refusal = True, REFUSED
    application.run(*REGISTER)
    yield {"EVENT_ID": event_of(application, "send_welcome_email")}
    mail.refusing = False


def frozen(application: Application, mail: MailServer) -> Scenario:
    with frozen_worker(application, mail) as worker:
        yield {"PID": str(worker.pid)}
        mail.hold = False
        mail.release.set()
        yield {}
        assert worker.wait(LIMIT_SECONDS) == -signal.SIGKILL


def mail_server_down(application: Application, mail: MailServer) -> Scenario:
    application.settings["mail_url"] = f"smtp://127.0.0.1:{a_free_port()}"
    application.run(*REGISTER)
    yield {}
    del application.settings["mail_url"]
    yield {}
    assert recipients(mail) == ["ivan@example.com"]


def a_stranger(application: Application, mail: MailServer) -> Scenario:
    application.run(*REGISTER)
    application.change(OF_A_NEWER_RELEASE)
    yield {"EVENT_ID": event_of(application, "count_user")}


def an_old_schema(application: Application, mail: MailServer) -> Scenario:
    application.run("db", "upgrade")
    application.module = "checks.next_version"
    yield {}


def locked(application: Application, mail: MailServer) -> Scenario:
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
        yield {"PID": str(other.pid)}
        yield {}
        assert other.wait(LIMIT_SECONDS) == -signal.SIGTERM


def a_wrong_clock(application: Application, mail: MailServer) -> Scenario:
    application.run(*REGISTER, dispatch="worker")
    application.change("UPDATE aftercommit_events SET time = datetime(time, '-1 hour')")
    port = a_free_port()
    with application.running("worker", metrics_port=str(port)):
        wait_until(lambda: not owed(application))
        yield {"9464": str(port)}


def broker_lost(application: Application, mail: MailServer) -> Scenario:
    port = a_free_port()
    application.settings["broker_urls"] = f"kafka://127.0.0.1:{port}"
    application.run(*REGISTER)
    yield {}
    with tansu(port, topics=["allocation.events"]):
        yield {}


def a_secret_is_missing(application: Application, mail: MailServer) -> Scenario:
    secret = application.folder / "database_url"
    application.settings["database_url_file"] = str(secret)
    yield {}
    secret.write_text("sqlite:///allocation.db")


def no_coupon(application: Application, mail: MailServer) -> Scenario:
    application.run("add-coupon-batch", "WELCOME", "1")
    application.run(*REGISTER)
    application.run(*REGISTER_ANOTHER)
    yield {}
    yield {}
    assert [subject for _, subject, _ in mail.received].count("Your welcome coupon") == 1


def mail_only_kept(application: Application, mail: MailServer) -> Scenario:
    application.mail = None
    application.run(*REGISTER)
    yield {}
    application.mail = mail
    yield {}
    application.run(*REGISTER_ANOTHER)
    assert recipients(mail) == ["maria@example.com"]


def an_old_list(application: Application, mail: MailServer) -> Scenario:
    application.run(*REGISTER, "--user-id", USER_ID)
    application.change(BROKEN_VIEW)
    application.run("change-email", USER_ID, "ivan@example.org", max_attempts="1")
    application.change("DROP TRIGGER broken")
    yield {}


def a_lock_on_a_server(application: Application, mail: MailServer) -> Scenario:
    application.run("add-coupon-batch", "WELCOME", "1")
    report = psycopg.connect(application.postgres_url or "", application_name="report")
    with closing(report):
        report.execute("SELECT * FROM coupon_batches FOR UPDATE")
        application.run(*REGISTER, handler_timeout_seconds="5")
        yield {"PID": str(report.info.backend_pid)}
        yield {}


def still_paused(application: Application, mail: MailServer) -> Scenario:
    application.run(*REGISTER, dispatch="worker")
    application.run("deliveries", "pause", "send_welcome_email", "--by", "Maria")
    application.run(*WORK)
    yield {}


def sent_twice(application: Application, mail: MailServer) -> Scenario:
    with frozen_worker(application, mail):
        mail.hold = False
        mail.release.set()
        wait_until(lambda: mail.received)
    application.run(*WORK)
    yield {}
    assert recipients(mail) == ["ivan@example.com"] * 2


def many_parked(application: Application, mail: MailServer) -> Scenario:
    mail.refusing, mail.refusal = True, REFUSED
    application.run(*REGISTER, "--user-id", USER_ID)
    application.run("change-email", USER_ID, "ivan@example.org")
    application.run(*REGISTER_ANOTHER)
    yield {}
    mail.refusing = False
    yield {}
    assert [handler for handler, _ in owed(application)] == ["send_change_notice"]
    application.run("deliveries", "retry", "--all-parked")
    application.run(*WORK)


def an_event_that_cannot_be_read(application: Application, mail: MailServer) -> Scenario:
    """Its data change, and change back, as if another release read them."""
    change = "UPDATE aftercommit_events SET data = replace(data, '{}', '{}')"
    application.run(*REGISTER, dispatch="worker")
    application.change(change.format('"name"', '"full_name"'))
    application.run(*WORK)
    yield {"EVENT_ID": event_of(application, "send_welcome_email")}
    application.change(change.format('"full_name"', '"name"'))
    yield {}
    assert recipients(mail) == ["ivan@example.com"]


def a_server_away(application: Application, mail: MailServer) -> Scenario:
    application.run(*REGISTER, dispatch="worker")
    application.settings["database_url"] = f"postgresql://127.0.0.1:{a_free_port()}/allocation"
    yield {"USER_ID": USER_ID}
    del application.settings["database_url"]
    yield {}
    assert recipients(mail) == ["ivan@example.com", "maria@example.com"]


def a_clock_was_ahead(application: Application, mail: MailServer) -> Scenario:
    application.run(*REGISTER, dispatch="worker")
    application.change("UPDATE aftercommit_events SET recorded_at = recorded_at + 3600")
    application.change("UPDATE aftercommit_deliveries SET available_at = available_at + 3600")
    yield {}


SCENARIOS = (
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
    nobody_works,
    still_paused,
    sent_twice,
    many_parked,
    an_event_that_cannot_be_read,
    a_server_away,
    a_clock_was_ahead,
)


def event_of(application: Application, handler: str) -> str:
    """Return the id of the event that this handler owes something to, as an operator sees it."""
    listed = application.run("deliveries", "list").stdout.splitlines()
    [event_id] = [line.split()[0] for line in listed if line.split()[1] == handler]
    return event_id


def recipients(mail: MailServer) -> list[str]:
    return sorted(recipient for recipient, _, _ in mail.received)


@pytest.fixture
def application(tmp_path: Path, mail_server: MailServer) -> Application:
    """The application, with a mail server."""
    return Application(tmp_path, mail=mail_server)


@pytest.mark.parametrize(
    ("symptom", "scenario"), [*zip(SYMPTOMS, SCENARIOS, strict=True)], ids=SYMPTOMS
)
def test_a_symptom_is_what_the_page_shows_and_is_mended_as_it_says(
    symptom: str,
    scenario: Callable[[Application, MailServer], Scenario],
    application: Application,
    mail_server: MailServer,
    request: pytest.FixtureRequest,
) -> None:
    """At night, nobody has the time to find out that a page is wrong."""
    if symptom.startswith("PostgreSQL"):
        application = replace(application, postgres_url=request.getfixturevalue("postgres_copy"))
    look, do = re.findall(r"```console\n(.*?)```", SYMPTOMS[symptom], re.DOTALL)
    with closing(scenario(application, mail_server)) as trouble:
        words = next(trouble)
        carry_out(application, look, words)
        next(trouble, None)
        carry_out(application, do, words)
        assert next(trouble, None) is None

    assert owed(application) == []


def test_the_other_commands_of_the_page_are_run_too(application: Application) -> None:
    """Those that make and restore backups are run with another application, beside its workers."""
    rest, _, retention = OPERATIONS.partition("## Retention")
    before, _, backups = rest.partition("## Back up")
    *_, restored = re.findall(r"```console\n(.*?)```", backups.partition("\n## ")[0], re.DOTALL)
    assert "```console" not in before + backups.partition("\n## ")[2]
    application.mail = None
    application.run("add-coupon-batch", "WELCOME", "10")
    application.run(*REGISTER, "--user-id", USER_ID)
    application.run("redeem-coupon", str(application.rows("SELECT code FROM coupons")[0][0]))

    for block in [restored, *re.findall(r"```console\n(.*?)```", retention, re.DOTALL)]:
        carry_out(application, block, {"USER_ID": USER_ID})


def test_the_metrics_that_the_page_about_extensions_shows_are_those_of_a_worker(
    application: Application,
) -> None:
    """Anyone who writes an alert copies their names."""
    page = (ROOT / "docs" / "extensions" / "README.md").read_text()
    shown = page.partition("/metrics | grep -v '^#'\n")[2].partition("\n…")[0].splitlines()
    application.run(*REGISTER, dispatch="worker")
    port = a_free_port()

    with application.running("worker", metrics_port=str(port)):
        wait_until(lambda: {*shown} <= {*asked(port, "/metrics")[1].splitlines()})


def carry_out(application: Application, block: str, words: Words) -> None:
    """Run commands as the page has them, and compare what they print with what the page shows."""
    for word, value in words.items():
        block = block.replace(word, value)
    for step in commands(block):
        printed, is_refused = printed_by(application, step)
        assert shows(printed, step.shown), f"{step.line}\n{printed}"
        assert is_refused == any(line.startswith("error: ") for line in step.shown), step.line


def printed_by(application: Application, step: Command) -> tuple[str, bool]:
    """Run a command; return what it prints, and whether it fails."""
    command = step.line
    if found := re.fullmatch(r"curl -s http://127\.0\.0\.1:(\d+)(/\w+) \| grep (\S+)", command):
        _, text = asked(int(found[1]), found[2])
        return "\n".join(re.findall(rf"^.*{found[3]}.*$", text, re.MULTILINE)), False
    if command.startswith("allocation ") and "|" not in command:
        result = application.run(*shlex.split(command)[1:])
        return result.stdout + result.stderr, result.returncode != 0
    return application.shell(command).stdout, False
