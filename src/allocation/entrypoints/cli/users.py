"""The commands about users and their coupons: what the application is for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import click

from allocation import views
from allocation.adapters.exceptions import CommitOutcomeUnknown, ConnectionLost
from allocation.bootstrap import Application
from allocation.domain.commands import AddCouponBatch, ChangeEmail, Command, RegisterUser
from allocation.domain.events import UserId
from allocation.domain.exceptions import InvalidValue
from allocation.domain.values import BatchReference, EmailAddress, PersonName, Quantity
from allocation.entrypoints.cli.application import Options, set_up, with_application
from allocation.entrypoints.cli.owed import Owed
from allocation.entrypoints.output import printable
from allocation.entrypoints.printing import json_line, print_all

ValueObject = BatchReference | EmailAddress | PersonName | Quantity


class Checked(click.ParamType[Any]):
    """An argument that a value object of the domain checks."""

    def __init__(self, value_object: type[ValueObject]) -> None:
        self.name = value_object.__name__
        self._value_object = value_object

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value as the domain has it."""
        try:
            return self._value_object(value).value
        except InvalidValue as error:
            self.fail(str(error), param, ctx)


class CheckedNumber(Checked):
    """A number that a value object of the domain checks."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, if the domain accepts it."""
        return super().convert(click.INT.convert(value, param, ctx), param, ctx)


@click.command()
@click.argument("name", type=Checked(PersonName))
@click.argument("email", type=Checked(EmailAddress))
@click.option("--user-id", type=click.UUID, help="Makes the command repeatable. Default: a new id")
@click.pass_obj
def register_user(options: Options, name: str, email: str, user_id: UUID | None) -> None:
    """Register a user: welcome e-mail, log entry and coupon follow at once."""
    command = RegisterUser(user_id=UserId(user_id or uuid4()), name=name, email=email)
    with _repeatable(f"--user-id {command.user_id}"):
        _handle(options, command)


@click.command()
@click.argument("user_id", type=click.UUID)
@click.argument("new_email", type=Checked(EmailAddress))
@click.pass_obj
def change_email(options: Options, user_id: UUID, new_email: str) -> None:
    """Give a user another e-mail address; the old one gets a notice."""
    _handle(options, ChangeEmail(user_id=UserId(user_id), new_email=new_email))


@click.command()
@click.argument("reference", type=Checked(BatchReference))
@click.argument("quantity", type=CheckedNumber(Quantity))
@click.pass_obj
def add_coupon_batch(options: Options, reference: str, quantity: int) -> None:
    """Make QUANTITY more welcome coupons available."""
    _handle(options, AddCouponBatch(reference=reference, quantity=quantity))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def users(options: Options, as_json: bool) -> None:
    """List all users with their coupons."""
    with_application(set_up(options), lambda application: list_users(application, as_json=as_json))


async def list_users(application: Application, *, as_json: bool = False) -> None:
    """Print a line for each user."""
    if not as_json:
        click.echo(f"{'USER_ID':36}  {'COUPON':24}  USER")
    async with views.users(application.database) as rows:
        await print_all(json_line(row) if as_json else _user_line(row) async for row in rows)


def _user_line(row: views.UserRow) -> str:
    return printable(f"{row.user_id}  {row.coupon or '-':24}  {row.name} <{row.email}>")


def _handle(options: Options, command: Command) -> None:
    settings = set_up(options)
    report = with_application(
        settings,
        lambda application: application.bus.handle(command),
        delivers=settings.dispatch == "inline",
    )
    owed = Owed()
    owed.add(report.failures)
    owed.show()


@contextmanager
def _repeatable(option: str) -> Iterator[None]:
    """Let an error after which nobody knows what was stored say how to ask again."""
    try:
        yield
    except (CommitOutcomeUnknown, ConnectionLost, KeyboardInterrupt) as error:
        error.add_note(f"repeat it with {option}")
        raise
