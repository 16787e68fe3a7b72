"""The command line with a database on a server."""

from uuid import uuid4

from tests.command_line import Application


def test_whoever_delivers_needs_a_place_for_emails(application: Application) -> None:
    """Beside a database on a server there is none by itself; who only looks needs none."""
    url = "postgresql://127.0.0.1:1/allocation"
    delivering = [
        ("register-user", "Иван", "ivan@example.com"),
        ("change-email", str(uuid4()), "ivan@example.com"),
        ("add-coupon-batch", "WELCOME", "1"),
        ("worker",),
    ]
    for command in delivering:
        result = application.run(*command, database_url=url)
        assert (result.returncode, result.stdout) == (2, "")
        assert "error: ALLOCATION_MAIL_URL is not set, and has no default" in result.stderr

    for command in (("users",), ("db", "upgrade")):
        assert "the database is not available" in application.run(*command, database_url=url).stderr
    for command in delivering[:3]:
        result = application.run(*command, database_url=url, dispatch="worker")
        assert "the database is not available" in result.stderr
