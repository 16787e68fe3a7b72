"""The command line: turns words into commands, queries and services, and shows what came of it.

Heavy modules are imported inside the commands that need them, so that `--help` answers at once.
"""

import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import click

from allocation.entrypoints.output import (
    keep_pace,
    print_all,
    print_whole,
    printable,
    say,
    unhurried_output,
)

if TYPE_CHECKING:
    from uuid import UUID

    from allocation.bootstrap import Application
    from allocation.config import Settings
    from allocation.domain.commands import Command
    from allocation.entrypoints.importing import Summary
    from allocation.entrypoints.serving import Service
    from allocation.service_layer.delivery import Failure
    from allocation.views import DeliveryRow, UserRow

T = TypeVar("T")

REFUSED, MALFORMED, UNAVAILABLE, BUG, INTERRUPTED = 1, 2, 3, 70, 130


class ExitCodes(click.Group):
    """Turns errors into one line on stderr and an exit code. The only place that does."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            pass  # whoever reads has seen enough
        except KeyboardInterrupt as error:
            if notes := _notes(error):
                say(f"interrupted{notes}", err=True)
            ctx.exit(INTERRUPTED)
        except Exception as error:
            code, reason = _exit_code(error), str(error)
            if code == BUG:
                say(_traceback(), err=True)
                reason = " ".join(f"{type(error).__name__}: {error}".split())
            say(f"error: {printable(reason)}{_notes(error)}", err=True)
            ctx.exit(code)


def _traceback() -> str:
    import traceback

    return traceback.format_exc().rstrip()


def _notes(error: BaseException) -> str:
    return "".join(f"; {note}" for note in getattr(error, "__notes__", ()))


def _exit_code(error: Exception) -> int:
    from allocation.domain.exceptions import Conflict, Malformed, Refused, Unavailable

    match error:
        case Refused():
            return REFUSED
        case Malformed():
            return MALFORMED
        case Unavailable() | Conflict() | OSError():
            return UNAVAILABLE
    return BUG  # a Mistake, too


class Checked(click.ParamType[Any]):
    """An argument that a value object of the domain checks."""

    def __init__(self, value_object: str) -> None:
        self.name = value_object

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from allocation.domain import model
        from allocation.domain.exceptions import InvalidValue

        try:
            return getattr(model, self.name)(value).value
        except InvalidValue as error:
            self.fail(str(error), param, ctx)


class CheckedNumber(Checked):
    """A number that a value object of the domain checks."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(click.INT.convert(value, param, ctx), param, ctx)


class Duration(click.ParamType[float]):
    """A length of time such as 30d, in seconds."""

    name = "duration"
    units: ClassVar = {"d": 86400, "h": 3600, "m": 60, "s": 1}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number, unit = value[:-1], value[-1:]
        if not (number.isascii() and number.isdigit() and len(number) < 7 and unit in self.units):
            self.fail(f"{value!r} is not a number followed by d, h, m or s", param, ctx)
        return int(number) * self.units[unit]


class HandlerName(click.ParamType[str]):
    """The name of a handler, perhaps of one that no longer exists."""

    name = "handler"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value.isidentifier() else self.fail(f"{value!r} is no name", param, ctx)


PREFETCH = click.option(
    "--prefetch",
    type=click.IntRange(1, 1000),
    help="How many messages of RabbitMQ to have in hand at a time; of Kafka it is one. Default: 20",
)


@click.group(cls=ExitCodes, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--database-url", metavar="URL", help="Default: sqlite:///allocation.db")
@click.option("--backend", type=click.Choice(["asyncio", "trio"]), help="Default: asyncio")
@click.option(
    "--mail-url",
    "--smtp-url",
    "mail_url",
    metavar="URL",
    help="smtp://user:password@host:port, smtps://…, or with ?starttls=1; or maildir:FOLDER, to "
    "keep e-mails there. Default: a folder beside the SQLite file, allocation-mail",
)
@click.option(
    "--broker-url",
    metavar="URL",
    help="amqp://user:password@host or kafka://host:port,host:port; several, separated by spaces, "
    "are allowed. Public events go to each of them.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Default: error; of worker, consume and run: info",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), help="Default: text")
@click.version_option(package_name="allocation")
@click.pass_context
def cli(ctx: click.Context, /, **options: str | None) -> None:
    """Register users, and give each of them a welcome e-mail and a coupon.

    Each option is also an environment variable: --database-url is ALLOCATION_DATABASE_URL.

    Exit codes: 0 done, 1 refused, 2 malformed input, 3 a resource is not available,
    70 a bug in this program, 130 interrupted.
    """
    ctx.with_resource(unhurried_output())
    ctx.obj = options


@cli.command()
@click.argument("name", type=Checked("PersonName"))
@click.argument("email", type=Checked("EmailAddress"))
@click.option("--user-id", type=click.UUID, help="Makes the command repeatable. Default: a new id")
@click.pass_obj
def register_user(options: dict[str, Any], name: str, email: str, user_id: "UUID | None") -> None:
    """Register a user: welcome e-mail, log entry and coupon follow at once."""
    from uuid import uuid4

    from allocation.domain.commands import RegisterUser
    from allocation.domain.events import UserId

    command = RegisterUser(user_id=UserId(user_id or uuid4()), name=name, email=email)
    with _repeatable(f"--user-id {command.user_id}"):
        _handle(_settings(options), command)


@contextmanager
def _repeatable(option: str) -> Iterator[None]:
    """Let an error after which nobody knows what was stored say how to ask again."""
    from allocation.domain.exceptions import CommitOutcomeUnknown, ConnectionLost

    try:
        yield
    except (CommitOutcomeUnknown, ConnectionLost, KeyboardInterrupt) as error:
        error.add_note(f"repeat it with {option}")
        raise


@cli.command()
@click.argument("user_id", type=click.UUID)
@click.argument("new_email", type=Checked("EmailAddress"))
@click.pass_obj
def change_email(options: dict[str, Any], user_id: "UUID", new_email: str) -> None:
    """Give a user another e-mail address; the old one gets a notice."""
    from allocation.domain.commands import ChangeEmail
    from allocation.domain.events import UserId

    _handle(_settings(options), ChangeEmail(user_id=UserId(user_id), new_email=new_email))


@cli.command()
@click.argument("reference", type=Checked("BatchReference"))
@click.argument("quantity", type=CheckedNumber("Quantity"))
@click.pass_obj
def add_coupon_batch(options: dict[str, Any], reference: str, quantity: int) -> None:
    """Make QUANTITY more welcome coupons available."""
    from allocation.domain.commands import AddCouponBatch

    _handle(_settings(options), AddCouponBatch(reference=reference, quantity=quantity))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def users(options: dict[str, Any], as_json: bool) -> None:
    """List all users with their coupons."""
    _with_application(_settings(options), lambda application: _list_users(application, as_json))


@cli.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.pass_obj
def import_users(options: dict[str, Any], file: str) -> None:
    """Register the users of a CSV file with the columns name,email.

    Running it again imports only what is missing.
    """
    from pathlib import Path

    from allocation.entrypoints.csv_rows import read_rows
    from allocation.entrypoints.importing import Import

    owed = Owed()

    async def refuse(reason: str) -> None:
        say(reason, err=True)
        await keep_pace()

    async def work(application: "Application") -> "Summary":
        summary = await Import(application, refuse, owed.add).run(rows)
        await keep_pace(behind=0)
        return summary

    settings = _settings(options)
    path, terminal = Path(file), bool(sys.stderr and sys.stderr.isatty())
    with (
        click.progressbar(
            length=path.stat().st_size, label="importing", file=sys.stderr, hidden=not terminal
        ) as bar,
        read_rows(path, advance=bar.update) as rows,
    ):
        delivers = settings.dispatch == "inline"
        summary = _with_application(settings, work, tell_story=False, delivers=delivers)
    say(f"imported {summary.imported}, already there {summary.known}, refused {summary.refused}")
    owed.show()
    if summary.refused:
        click.get_current_context().exit(REFUSED)


@cli.group()
def db() -> None:
    """Look after the database."""


@db.command()
@click.pass_obj
def upgrade(options: dict[str, Any]) -> None:
    """Bring the database schema up to date."""
    from allocation.adapters.database import open_database
    from allocation.adapters.schema import revisions, upgrade_schema
    from allocation.entrypoints.running import run

    settings = _settings(options)

    async def work() -> None:
        async with open_database(settings.database_url) as database:
            await upgrade_schema(database)

    run(work, backend=settings.backend)
    say(f"the database schema is up to date (revision {revisions()[-1]})")


@cli.command()
@click.option("--until-idle", is_flag=True, help="End when no delivery is pending.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1000),
    help="How many deliveries to have in hand at a time. Default: 20",
)
@click.pass_obj
def worker(options: dict[str, Any], until_idle: bool, concurrency: int | None) -> None:
    """Do what others left undone: retries, and the work of processes that died.

    SIGTERM or Ctrl-C lets work in hand finish, a second one ends at once; nothing is lost.
    """
    from allocation.entrypoints.worker import working

    settings = _settings(options | {"concurrency": concurrency}, log_level="info")
    _serve(settings, working(settings, until_idle=until_idle))


@cli.command()
@PREFETCH
@click.pass_obj
def consume(options: dict[str, Any], prefetch: int | None) -> None:
    """Take commands from the message brokers.

    SIGTERM or Ctrl-C lets work in hand finish, a second one ends at once; nothing is lost.
    """
    from allocation.entrypoints.consumer import consuming

    settings = _settings(options | {"prefetch": prefetch}, log_level="info")
    _serve(settings, consuming(settings), delivers=settings.dispatch == "inline")


@cli.command()
@PREFETCH
@click.pass_obj
def run(options: dict[str, Any], prefetch: int | None) -> None:
    """Do what worker and consume do, in one process: for small installations."""
    from allocation.entrypoints.consumer import consuming
    from allocation.entrypoints.worker import working

    settings = _settings(options | {"prefetch": prefetch}, log_level="info")
    _serve(settings, working(settings), consuming(settings))


@cli.command()
def asyncapi() -> None:
    """Print the AsyncAPI document of what is published and consumed, as JSON."""
    from allocation.bootstrap import published_language
    from allocation.entrypoints.running import run

    run(lambda: print_whole(published_language()), backend="asyncio")


@cli.group()
def deliveries() -> None:
    """Look at what handlers still owe, and decide about what is parked."""


@deliveries.command("list")
@click.option("--parked", is_flag=True, help="Only those that need a decision.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def list_deliveries(options: dict[str, Any], parked: bool, as_json: bool) -> None:
    """List the deliveries that are owed, the longest due first."""
    from allocation import views

    async def work(application: "Application") -> None:
        async with views.owed_deliveries(application.database, parked_only=parked) as rows:
            await print_all(
                _json_line(row) if as_json else _delivery_line(row, application.handlers)
                async for row in rows
            )

    _with_application(_settings(options), work)


@deliveries.command("show")
@click.argument("event_id", type=click.UUID)
@click.argument("handler", type=HandlerName())
@click.pass_obj
def show_delivery(options: dict[str, Any], event_id: "UUID", handler: str) -> None:
    """Show one delivery, with the data of its event."""
    import msgspec

    from allocation import views
    from allocation.service_layer.delivery import EventId

    async def work(application: "Application") -> None:
        row = await views.delivery(application.database, EventId(event_id), handler)
        fields = msgspec.to_builtins(row).items()
        await print_whole("\n".join(_field_line(name, value) for name, value in fields))

    _with_application(_settings(options), work)


@deliveries.command("retry")
@click.argument("event_id", type=click.UUID, required=False)
@click.argument("handler", type=HandlerName(), required=False)
@click.option("--all-parked", is_flag=True, help="Retry everything that is parked.")
@click.pass_obj
def retry_delivery(
    options: dict[str, Any], event_id: "UUID | None", handler: str | None, all_parked: bool
) -> None:
    """Make a delivery due at once, with all its attempts before it; a worker then does it."""
    from allocation.service_layer.delivery import EventId

    if all_parked == (event_id is not None) or (event_id is None) != (handler is None):
        raise click.UsageError("give either EVENT_ID and HANDLER, or --all-parked")

    async def work(application: "Application") -> int:
        if event_id is None or handler is None:
            return await application.outbox.retry_all_parked()
        await application.outbox.retry(EventId(event_id), handler)
        return 1

    count = _with_application(_settings(options), work)
    say(f'{_deliveries(count)} due now; run "allocation worker"')


@deliveries.command("discard")
@click.argument("event_id", type=click.UUID)
@click.argument("handler", type=HandlerName())
@click.pass_obj
def discard_delivery(options: dict[str, Any], event_id: "UUID", handler: str) -> None:
    """Forget a delivery for good: its handler will never do this work."""
    from allocation.service_layer.delivery import EventId

    async def work(application: "Application") -> None:
        await application.outbox.discard(EventId(event_id), handler)

    _with_application(_settings(options), work)
    say("1 delivery discarded")


@cli.group()
def events() -> None:
    """Look after the history of events."""


@events.command()
@click.option("--older-than", type=Duration(), required=True, help="Such as 30d, 12h, 15m or 45s.")
@click.pass_obj
def prune(options: dict[str, Any], older_than: float) -> None:
    """Delete old events. Those with a delivery that is still owed are kept."""

    async def work(application: "Application") -> int:
        return await application.outbox.prune_events(older_than=older_than)

    count = _with_application(_settings(options), work)
    say(f"{count} {'event' if count == 1 else 'events'} deleted")


@cli.command()
@click.pass_obj
def demo(options: dict[str, Any]) -> None:
    """Register two users in a temporary database, and show what happened."""
    from dataclasses import replace
    from tempfile import TemporaryDirectory
    from uuid import uuid4

    from allocation.domain.commands import AddCouponBatch, RegisterUser
    from allocation.domain.events import UserId

    with TemporaryDirectory(prefix="allocation-demo-") as folder:
        url = f"sqlite:///{folder}/demo.db"
        settings = replace(_settings(options), database_url=url, mail_url=None)

        async def work(application: "Application") -> None:
            await application.bus.handle(AddCouponBatch(reference="WELCOME", quantity=10))
            for name, email in (("Иван", "ivan@example.com"), ("Мария", "maria@example.com")):
                user_id = UserId(uuid4())
                await application.bus.handle(RegisterUser(user_id=user_id, name=name, email=email))
            say("")
            await _list_users(application, as_json=False)

        _with_application(settings, work, delivers=True)


def _settings(options: dict[str, Any], *, log_level: str = "error") -> "Settings":
    from allocation.config import load
    from allocation.entrypoints.logs import set_up_logging

    settings = load(options)
    set_up_logging(settings.log_level or log_level, settings.log_format)
    return settings


def _with_application(
    settings: "Settings",
    work: Callable[["Application"], Awaitable[T]],
    *,
    tell_story: bool = True,
    delivers: bool = False,
) -> T:
    """Run `work` with an application, which tells its story on stdout unless told not to."""
    from allocation.bootstrap import bootstrap
    from allocation.entrypoints.running import run
    from allocation.entrypoints.story import Story

    observer = Story(say, settings.mail_folder) if tell_story else None

    async def main() -> T:
        async with bootstrap(settings, observer=observer, delivers=delivers) as application:
            return await work(application)

    return run(main, backend=settings.backend)


def _serve(settings: "Settings", *services: "Service", delivers: bool = True) -> None:
    from allocation.entrypoints.serving import serve
    from allocation.entrypoints.story import Story

    observer = Story(say, settings.mail_folder)
    serve(settings, services, observer=observer, delivers=delivers)


def _handle(settings: "Settings", command: "Command") -> None:
    report = _with_application(
        settings,
        lambda application: application.bus.handle(command),
        delivers=settings.dispatch == "inline",
    )
    owed = Owed()
    owed.add(report.failures)
    owed.show()


class Owed:
    """Counts the failures of deliveries, to say in one line each what becomes of them."""

    def __init__(self) -> None:
        self._retried: Counter[str] = Counter()
        self._parked: Counter[str] = Counter()

    def add(self, failures: Sequence["Failure"]) -> None:
        """Count these."""
        for failure in failures:
            handler, seconds = failure.delivery.handler, failure.retry_in
            if seconds is None:
                self._parked[handler] += 1
            else:
                self._retried[f"{handler} in {ceil(seconds)} s"] += 1

    def show(self) -> None:
        """Say on stderr what will be retried and what is parked; nothing is lost."""
        if count := self._retried.total():
            what = ", ".join(self._retried)
            say(f'{_deliveries(count)} will be retried: {what}; run "allocation worker"', err=True)
        if count := self._parked.total():
            what = ", ".join(self._parked)
            say(f'{_deliveries(count)} parked: {what}; see "allocation deliveries list"', err=True)


def _deliveries(count: int) -> str:
    return "1 delivery" if count == 1 else f"{count} deliveries"


async def _list_users(application: "Application", as_json: bool) -> None:
    from allocation import views

    if not as_json:
        click.echo(f"{'USER_ID':36}  {'COUPON':24}  USER")
    async with views.users(application.database) as rows:
        await print_all(_json_line(row) if as_json else _user_line(row) async for row in rows)


def _json_line(row: "UserRow | DeliveryRow") -> bytes:
    import msgspec

    return printable(msgspec.json.encode(row).decode()).encode()  # JSON is UTF-8 everywhere


def _user_line(row: "UserRow") -> str:
    return printable(f"{row.user_id}  {row.coupon or '-':24}  {row.name} <{row.email}>")


def _delivery_line(row: "DeliveryRow", known: Collection[str]) -> str:
    unknown = "" if row.handler in known else ", no handler of this program"
    state = "parked" if row.parked_at else f"due {row.due_at:%FT%TZ}"
    error = (row.last_error or "").partition("\n")[0]
    return printable(
        f"{row.event_id}  {row.handler}  ({row.event_type})  "
        f"attempts {row.attempts}, {state}{unknown}  {error}"
    )


def _field_line(name: str, value: object) -> str:
    text = "-" if value is None else str(value)
    return f"{name + ':':12} " + "\n".join(map(printable, text.split("\n")))
