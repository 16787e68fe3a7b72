"""No secret of a URL leaves the process, wherever in the URL it stands and whatever is wrong."""

import ast
import random
import re
import traceback
from collections.abc import Callable
from pathlib import Path

import aftercommit
import anyio
import pytest
from aftercommit import InvalidValue, Outbox
from aftercommit import command_line as cli_of
from aftercommit.secret_text import SecretText, without_secrets
from click.testing import CliRunner

from aftercommit_tests.command_line import CommandLine
from aftercommit_tests.inside.brokers import Channels, new_brokers
from aftercommit_tests.inside.stored import backend_for, parse_url, shown
from aftercommit_tests.things.app import APP

SECRET = "hunter2"
NOBODY = "127.0.0.1:1"  # where no server listens
PLACES = [
    f"postgresql://{SECRET}@{NOBODY}/things",
    f"postgresql://ivan:{SECRET}@{NOBODY}/things",
    f"postgresql://ivan:p#:/?{SECRET}@{NOBODY}/things",
    f"postgres://ivan:{SECRET}@{NOBODY}/things?sslmode=prefer",
    f"postgresql://ivan:{SECRET}@{NOBODY},127.0.0.1:2/things",
    f"postgresql:///things?host={NOBODY}&user=ivan&password={SECRET}",
    f"postgresql://{NOBODY}/things?sslpassword={SECRET}&passfile=/no/{SECRET}&sslcert=/{SECRET}",
    f"postgresql://{NOBODY}/things?options=-csearch_path%3D{SECRET}",
]
"""Of URLs that are right, and lead to nobody."""
WRONG = [
    *(f"{scheme}ivan:{SECRET}@h/d" for scheme in ("", "postgresql//", "postgresql:/", "oracle://")),
    f"{SECRET}://h/d",
    f"postgresql+{SECRET}://h/d",
    f"postgresql://ivan:p@{SECRET}@h/d",
    f"postgresql://ivan:{SECRET}@w/rd@h/d",
    f"postgresql://ivan:p@{SECRET}:w/rd@h/d",
    f"postgresql://ivan:p@h?{SECRET}@h/d",
    f"postgresql://ivan:p@h/d?{SECRET}",
    f"postgresql://ivan:p@h/d?{SECRET}=1",
    f"postgresql://ivan:p@h/d?ssl={SECRET}",
    f"postgresql://ivan:{SECRET}%ff@h/d",
    f"postgresql://ivan:{SECRET}\x1b@h/d",
    f"postgresql:///ivan:{SECRET}@h/d",
    f"postgresql://ivan:{SECRET}/d",
    f"postgresql://ivan:{SECRET}@h:port/d",
    f"postgresql://ivan:{SECRET}@h1:1,h2:x/d",
    f"postgresql://ivan:p@h:{SECRET}/d",
    f"postgresql://ivan@h/d?user={SECRET}",
    f"postgresql://h/d?service={SECRET}",
    f"postgresql://h/d?sslmode=require&sslmode={SECRET}",
    *(f"postgresql://h/d?{each}={SECRET}" for each in ("connect_timeout", "port", "sslmode")),
    *(f"postgresql://h/d?{each}={SECRET}" for each in ("gsslib", "target_session_attrs")),
    f"sqlite://ivan:{SECRET}@/x.db",
    *(f"sqlite:///x.db?{each}" for each in (SECRET, f"timeout={SECRET}", f"{SECRET}=1")),
]
"""Each is refused."""


@pytest.mark.parametrize("url", PLACES)
@pytest.mark.parametrize("command", [("check",), ("db", "upgrade"), ("worker", "--until-idle")])
def test_a_url_that_leads_to_nobody_is_exit_code_3_without_its_secret(
    command_line: CommandLine, url: str, command: tuple[str, ...]
) -> None:
    """What drivers say about a connection is printed, and an operator passes it on."""
    result = command_line.run(*command, database_url=url, log_level="debug")

    assert result.returncode == 3, result.stderr
    assert SECRET not in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("url", WRONG)
def test_a_wrong_url_is_exit_code_2_without_a_piece_of_its_password(
    command_line: CommandLine, url: str
) -> None:
    """Where a password is not escaped, any part of the URL can be a piece of it."""
    command_line.refuses("check", complaint="error: database URL ", database_url=url)
    printed = command_line.run("check", database_url=url)

    assert SECRET not in printed.stderr


def test_what_check_and_the_settings_show_of_a_url_has_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not even if somebody prints the setting itself."""
    text = f"postgresql://ivan:{SECRET}@h/d?sslmode=require&sslpassword={SECRET}&sslkey={SECRET}"
    url = APP.load({"database_url": text}).database_url
    broker = APP.load({"broker_urls": f"amqp://ivan:{SECRET}@h/vhost?auth={SECRET}"})

    assert f"{url}" == str(url) == "postgresql://***@h/d?sslmode=require&***&***"
    assert shown(parse_url(url)) == "postgresql://***@h/d?***&sslmode=require&***"
    assert parse_url(url).password == SECRET
    for printed in (f"{url!r}", url + "", "" + url, f"{url:>99}", f"{[url]}{broker}", "%s" % url):  # noqa: UP031
        assert SECRET not in printed
    assert APP.load({"database_url": url}).database_url == text


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_the_default_that_the_help_shows_has_no_secret(option: str) -> None:
    """It is in the code of an outbox, and the help is what somebody pastes into a chat."""
    url = f"postgresql+asyncpg://ivan:{SECRET}@h/d?sslpassword={SECRET}"
    outbox = Outbox("shop", url, [])
    text = CliRunner().invoke(cli_of(outbox.app), [option], catch_exceptions=False).output

    assert "postgresql+asyncpg://***@h/d?***" in text
    assert SECRET not in text
    assert parse_url(outbox.app.load({}).database_url).password == SECRET


@pytest.mark.parametrize("url", [each for each in WRONG if f"+{SECRET}" not in each])
def test_a_wrong_url_in_code_is_refused_in_the_same_words(url: str) -> None:
    """The line that makes an outbox runs when its module is imported, no matter who does that.

    The driver in it is that of the application; the engine has its own.
    """
    with pytest.raises(InvalidValue, match="^database URL ") as refusal:
        outbox = Outbox("shop", url, [])
        backend_for_this_url(outbox.app.load({}).database_url)

    assert SECRET not in "".join(traceback.format_exception(refusal.value))


def backend_for_this_url(url: str) -> None:
    """Go on as a process does that opens its database, whatever its event loop."""

    async def main() -> None:
        backend = backend_for(url, APP.parts.database_backends(), 1.0)
        try:
            engine = backend.new_engine("things", "1@here")
        except ValueError:
            raise InvalidValue("database URL", "has a wrong value") from None
        assert SECRET not in repr(engine)

    anyio.run(main)


TEXT = [SECRET, "ivan", "h", "1", "d", ":", "/", "?", "@", "#", "=", "&", ",", "%40", "%", "[", "]"]
BEGINNINGS = ["postgresql://", "postgres://ivan:", "postgresql+anyio://", "sqlite://", "amqp://u:"]


@pytest.mark.parametrize("seed", range(20))
def test_of_any_text_with_a_secret_in_it_none_is_shown(seed: int) -> None:
    """People mistype URLs in every way there is: a thousand of them a run, from a seed."""
    draw = random.Random(seed)
    for _ in range(50):
        rest = "".join(draw.choices(TEXT, k=draw.randint(1, 12)))
        url = f"{draw.choice(BEGINNINGS)}{SECRET}:{rest}@h/d?sslpassword={SECRET}"
        for use in (without_secrets, told(parse_url), told(backend_for_this_url), told(a_broker)):
            assert SECRET not in use(url), (seed, url)
        assert SECRET not in str(SecretText(url))


def told(use: Callable[[str], object]) -> Callable[[str], str]:
    """Return a function that returns all that an error of this one could print."""

    def tell(url: str) -> str:
        try:
            use(url)
        except InvalidValue:
            return traceback.format_exc()
        return ""

    return tell


def a_broker(url: str) -> None:
    """Make the broker of a URL, as a process does at its start."""
    new_brokers([url], Channels("things"))


SOURCE = Path(aftercommit.__file__).parent
PRINTS = {"str", "repr", "format", "print", "echo", "debug", "info", "warning", "error"}
RENDER = {  # for a driver, or a URL that cannot be shown
    *("database/database_url.py", "extensions/postgresql/connections.py", "outbox/outbox_app.py"),
    *("outbox/engine_of_application.py", "extensions/operations/cli_check.py"),
    *("extensions/brokers/rabbitmq.py", "testing/databases.py"),
}


def test_no_code_of_the_engine_shows_a_url_of_sqlalchemy_by_itself() -> None:
    """It hides a password, and not what stands after the question mark: `shown` hides all."""
    texts = {str(file.relative_to(SOURCE)): file.read_text() for file in SOURCE.rglob("*.py")}

    assert {name: lines for name, text in texts.items() if (lines := shown_urls(text))} == {}
    rendering = re.compile("render_as_string|make_url")
    assert {name for name, text in texts.items() if rendering.search(text)} <= RENDER


def shown_urls(source: str) -> set[int]:
    """Return the lines in which the URL of an engine is shown, and not by `shown`."""
    lines = set[int]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Call) and _prints(node)):
            hidden = [each for call in ast.walk(node) if _hides(call) for each in ast.walk(call)]
            urls = [each for each in ast.walk(node) if _is_url(each) and each not in hidden]
            lines |= {node.lineno for _ in urls}
    return lines


def _prints(call: ast.Call) -> bool:
    name = getattr(call.func, "id", "") or getattr(call.func, "attr", "")
    return name in PRINTS or name.endswith("Error")


def _hides(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "shown"


def _is_url(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "url" and "engine" in ast.unparse(node)
