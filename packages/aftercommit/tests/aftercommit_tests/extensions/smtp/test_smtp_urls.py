"""The URL of a mail server: one setting says it all, and is never repeated in an error."""

import traceback

import pytest
from aftercommit import InvalidValue

from aftercommit_tests.inside.smtp import SmtpServer

HOST = "mail.example.com"
ACCEPTED = {
    f"smtp://{HOST}": SmtpServer(host=HOST, port=25),
    f"SMTP://{HOST}:2525": SmtpServer(host=HOST, port=2525),
    "smtp://[::1]:2525": SmtpServer(host="::1", port=2525),
    f"smtps://{HOST}": SmtpServer(host=HOST, port=465, tls=True),
    f"smtps://{HOST}:587": SmtpServer(host=HOST, port=587, tls=True),
    f"smtp://{HOST}:587?starttls=1": SmtpServer(host=HOST, port=587, starttls=True),
    f"smtp://ivan@{HOST}": SmtpServer(host=HOST, port=25, login="ivan", password="", starttls=True),
    f"smtp://ivan%40example.com:p%40ss%3A%2F%25@{HOST}": SmtpServer(
        host=HOST, port=25, login="ivan@example.com", password="p@ss:/%", starttls=True
    ),
}
LOOPBACK = ["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "[::1]"]
ELSEWHERE = [HOST, "localhost.example.com", "10.0.0.1", "127.example.com", "[2001:db8::1]"]
REFUSED = [
    "",
    HOST,
    f"ivan:hunter2@{HOST}",
    f"http://ivan:hunter2@{HOST}",
    f"smtp:ivan:hunter2@{HOST}",
    "smtp://",
    "smtp://ivan:hunter2@",
    "smtp://ivan:hunter2@:25",
    "smtp://ivan:hunter2@[::1",
    "smtp://ivan:hunter2@mail..example.com",
    *(f"smtp://ivan:hunter2@{HOST}:{port}" for port in ("smtp", "99999", "0")),
    *(f"smtp://ivan:hunter2@{HOST}{tail}" for tail in ("/", ":25/inbox?starttls=1", "#starttls=1")),
    f"smtps://ivan:hunter2@{HOST}:465#tls",
    f"smtp://:hunter2@{HOST}",
    f"smtp://ivan:hunter2@ma il.{HOST}",
    f"smtp://ivan:hunter2@mail\n.{HOST}",
    # a misspelt request for encryption would send the password in clear text
    *(
        f"smtp://ivan:hunter2@{HOST}?{query}"
        for query in ("starttls=true", "STARTTLS=1", "starttls", "starttls=", "starttls=0", "tls=1")
    ),
    f"smtp://ivan:hunter2@{HOST}?starttls=1&",
    # with encryption from the start, it would not mean what it says
    *(f"smtps://ivan:hunter2@{HOST}?{query}" for query in ("starttls=1", "starttls=0", "tls=1")),
    # what stands before the password would be the host, and get the e-mails
    *(f"smtp://ivan:25{delimiter}hunter2@{HOST}" for delimiter in "/?#"),
    # clients send ASCII: every e-mail would fail, one by one
    *(f"smtp://ivan:hunter2{letter}@{HOST}" for letter in ("ü", "%C3%BC", "%FC")),
    f"smtp://%D0%B8:hunter2@{HOST}",
]


@pytest.mark.parametrize("url", ACCEPTED)
def test_a_url_says_how_to_reach_a_mail_server(url: str) -> None:
    """The ports are those of the standard. No password shows in a `repr`, which may be logged."""
    server = SmtpServer.from_url(url)

    assert server == ACCEPTED[url]
    assert not server.password or server.password not in repr(server)


@pytest.mark.parametrize("host", LOOPBACK + ELSEWHERE)
def test_a_password_leaves_this_machine_only_encrypted(host: str) -> None:
    """The shortest URL is the one that people copy, and it must not give the password away."""
    server = SmtpServer.from_url(f"smtp://ivan:hunter2@{host}:587")

    assert server.starttls == (host in ELSEWHERE)


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_is_not_understood_is_refused_without_repeating_it(url: str) -> None:
    """It is most likely a typing mistake beside a password, and errors get logged."""
    with pytest.raises(InvalidValue, match="^mail URL ") as caught:
        SmtpServer.from_url(url)

    report = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in report
    assert HOST not in report
