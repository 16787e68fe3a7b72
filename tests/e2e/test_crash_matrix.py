"""A real process is killed at every step; then a worker runs; then nothing may be missing.

Each test is one cell of the matrix.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.crashing import (
    ANSWERING,
    CLAIMING,
    COMMITTING,
    HANDLING,
    PARKING,
    RESCHEDULING,
)
from tests.e2e.mail import Mail, message_ids
from tests.e2e.processes import Application, owed
from tests.e2e.smtp.mail_server import MailServer

EMAIL = "ivan@example.com"
REGISTER_USER = ("register-user", "Иван", EMAIL)
WORK = ("worker", "--until-idle")
NEVER_STORED = {"before the commit", "in the commit"}


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database with the schema."""
    application = Application(tmp_path_factory.mktemp("template"))
    assert application.run("db", "upgrade").returncode == 0
    return application.database


@pytest.fixture(
    params=[
        "sqlite",
        "postgres",
    ]
)
def empty(
    request: pytest.FixtureRequest, tmp_path: Path, mail: Mail, backend: str, template: Path
) -> Application:
    """The application on each kind of database."""
    application = Application(tmp_path, mail, backend=backend)
    if request.param == "postgres":
        application.postgres_url = request.getfixturevalue("postgres_url")
        return application
    copy(template, application.database)
    return application


@pytest.fixture
def application(empty: Application) -> Application:
    """The application, with coupons to give away."""
    add_coupons(empty)
    return empty


@pytest.fixture
def worker(application: Application) -> Application:
    """The application, with a registration that a worker has to finish."""
    application.crash("after the commit", *REGISTER_USER)
    application.end_leases()
    return application


def add_coupons(application: Application) -> None:
    columns = "reference, quantity, remaining, version"
    application.change(f"INSERT INTO coupon_batches ({columns}) VALUES ('WELCOME', 10, 10, 1)")


def coupon_emails(mail: Mail) -> int:
    return len(set(message_ids(mail, EMAIL, "Your welcome coupon")))


def copy(source: Path, target: Path) -> None:
    """Copy a database with whatever its killed owner left in the write-ahead log."""
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def log_lines(application: Application) -> int:
    return int(application.rows("SELECT count(*) FROM registration_log")[0][0])


def coupons_of(application: Application) -> int:
    return int(application.rows("SELECT count(*) FROM coupons")[0][0])


def let_a_worker_finish(application: Application) -> None:
    application.end_leases()
    worker = application.run(*WORK)
    assert worker.returncode == 0, worker.stderr


def assert_user_has_everything(application: Application, mail: Mail) -> None:
    assert application.rows("SELECT email FROM users") == [(EMAIL,)]
    assert log_lines(application) == 1
    assert application.rows("SELECT name, email FROM user_view") == [("Иван", EMAIL)]
    assert len(set(message_ids(mail, EMAIL, "Welcome"))) == 1
    assert coupons_of(application) == coupon_emails(mail) == 1
    assert application.rows("SELECT remaining FROM coupon_batches") == [(9,)]
    assert application.rows("SELECT count(coupon_code) FROM user_view") == [(1,)]
    assert owed(application) == []


@pytest.mark.parametrize("point", [*COMMITTING, *HANDLING])
def test_a_registration_survives_a_kill(point: str, application: Application, mail: Mail) -> None:
    """The user is there with everything that belongs to it, or was never acknowledged."""
    printed = application.crash(point, *REGISTER_USER)

    let_a_worker_finish(application)

    if point in NEVER_STORED:
        assert "registered" not in printed
        assert application.rows("SELECT * FROM users") == []
        assert mail.received == []
        assert application.run(*REGISTER_USER).returncode == 0
    assert_user_has_everything(application, mail)


@pytest.mark.parametrize("point", [*CLAIMING, *HANDLING])
def test_a_worker_survives_a_kill(point: str, worker: Application, mail: Mail) -> None:
    """A worker is a process like any other: the next one takes over."""
    worker.crash(point, *WORK)

    let_a_worker_finish(worker)

    assert_user_has_everything(worker, mail)


def test_a_lease_that_ends_by_time_is_taken_over(application: Application, mail: Mail) -> None:
    """Nobody moves the clock in production: the database's own has to do it."""
    seconds = {"lease_seconds": "5", "handler_timeout_seconds": "4"}
    application.crash("inside send_welcome_email, after the effect", *REGISTER_USER, **seconds)
    assert owed(application)

    assert application.run(*WORK, **seconds).returncode == 0

    assert_user_has_everything(application, mail)
    assert len(message_ids(mail, EMAIL, "Welcome")) == 2


@pytest.mark.parametrize("point", RESCHEDULING)
def test_a_failing_delivery_survives_a_kill(point: str, worker: Application, mail: Mail) -> None:
    """The attempt counts or not, but the work is done in the end."""
    mail.refusing = True
    worker.crash(point, *WORK)
    mail.refusing = False

    let_a_worker_finish(worker)

    assert_user_has_everything(worker, mail)


@pytest.mark.parametrize("point", ANSWERING)
def test_what_the_outside_answers_is_stored_once(
    point: str, empty: Application, mail: Mail
) -> None:
    """Killed after the effect, it happens again; the answer is there once, and so is its event."""
    assert isinstance(mail, MailServer)
    mail.unknown = EMAIL
    empty.crash(point, *REGISTER_USER)

    let_a_worker_finish(empty)

    assert empty.rows("SELECT count(*) FROM aftercommit_events WHERE type = 'email_bounced'") == [
        (1,)
    ]
    answers = "SELECT source FROM aftercommit_commands WHERE type = 'record_bounce'"
    assert empty.rows(answers) == [("send_welcome_email",)]
    assert empty.rows("SELECT count(*) FROM users WHERE email_undeliverable") == [(1,)]
    assert len(mail.asked) == 1 + (not point.startswith("after"))
    assert mail.received == []
    assert owed(empty) == []


@pytest.mark.parametrize("point", PARKING)
def test_a_parked_delivery_survives_a_kill(
    point: str, application: Application, mail: Mail
) -> None:
    """It is parked in the end, and a retry by hand finishes it."""
    mail.refusing = True
    application.crash(point, *REGISTER_USER, max_attempts="1")
    application.end_leases()
    assert application.run(*WORK, max_attempts="1").returncode == 0
    mail.refusing = False
    parked = application.rows(
        "SELECT handler FROM aftercommit_deliveries WHERE parked_at IS NOT NULL"
    )
    assert ("send_welcome_email",) in parked

    assert application.run("deliveries", "retry", "--all-parked").returncode == 0
    let_a_worker_finish(application)

    assert_user_has_everything(application, mail)
