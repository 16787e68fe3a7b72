"""Processes under load, killed at random moments: nothing is lost, nothing happens twice."""

import random
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.mail import Mail, message_ids
from tests.e2e.processes import Application, owed

USERS = 200
KILLS = 20
SEED = 2026


@pytest.fixture
def application(tmp_path: Path, mail: Mail, backend: str) -> Application:
    """The application, with a place for e-mails to look into."""
    return Application(tmp_path, mail, backend=backend)


def run_and_kill(process: "subprocess.Popen[str]", after: float) -> bool:
    """Kill the process after so many seconds; tell whether it was still running."""
    try:
        process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return True
    return False


def test_two_hundred_registrations_survive_twenty_random_kills(
    application: Application, mail: Mail
) -> None:
    """No step is safe from a power cut, not even those nobody thought of."""
    emails = [f"user{n}@example.com" for n in range(USERS)]
    (application.folder / "users.csv").write_text(
        "name,email\n" + "".join(f"Иван,{email}\n" for email in emails)
    )
    application.run("add-coupon-batch", "WELCOME", "150")
    dice = random.Random(SEED)
    kills = 0
    while kills < KILLS:
        command = ["import-users", "users.csv"] if kills % 4 else ["worker", "--until-idle"]
        kills += run_and_kill(application.start(*command), after=dice.uniform(0.05, 0.4))
        if not kills % 5:
            application.end_leases()

    assert application.run("import-users", "users.csv").returncode == 0
    application.end_leases()
    assert application.run("worker", "--until-idle").returncode == 0

    assert application.rows("SELECT count(*) FROM users") == [(USERS,)]
    logged = Counter(email for (email,) in application.rows("SELECT email FROM registration_log"))
    assert logged == Counter(emails)
    assert application.rows("SELECT count(*), count(DISTINCT user_id) FROM coupons") == [(150, 150)]
    assert application.rows("SELECT remaining FROM coupon_batches") == [(0,)]
    assert application.rows("SELECT count(*), count(coupon_code) FROM user_view") == [(USERS, 150)]
    assert owed(application) == []
    for email in emails:
        assert len(set(message_ids(mail, email, "Welcome"))) == 1
    assert len({key for _, subject, key in mail.received if "coupon" in subject}) == 150 + 1
