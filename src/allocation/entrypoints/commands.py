"""The commands about users and their coupons: what the application is for."""

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import click
from aftercommit import Application, CommandLine
from aftercommit.extensions.operations.csv_import import import_csv
from aftercommit.terminal.escaping import escape_controls
from aftercommit.terminal.printing import json_line, print_all

from allocation import views
from allocation.adapters.orm import UserRow
from allocation.config import Settings
from allocation.domain.commands import (
    AddCouponBatch,
    ChangeEmail,
    ImportUsers,
    RedeemCoupon,
    RegisterUser,
)
from allocation.domain.coupons import MAX_QUANTITY, BatchReference, CouponCode
from allocation.domain.events import UserId, UserRegistered
from allocation.domain.values import EmailAddress, PersonName

commands = click.Group()


@commands.command()
@click.argument("name")
@click.argument("email")
@click.option(
    "--user-id",
    type=click.UUID,
    help="Id of the new user; repeating the command with it changes nothing. Default: a new id",
)
@click.pass_obj
def register_user(cli: CommandLine[Settings], name: str, email: str, user_id: UUID | None) -> None:
    """Register a user; a welcome e-mail and a coupon follow."""
    command = RegisterUser(
        user_id=UserId(user_id or uuid4()),
        name=PersonName(name).value,
        email=EmailAddress(email).value,
    )
    cli.handle(command, repeat_with=f"--user-id {command.user_id}")


@commands.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--dispatch",
    type=click.Choice(["inline", "worker"]),
    help="Who runs the handlers of the events: this command, or workers. Default: worker",
)
@click.pass_obj
def import_users(cli: CommandLine[Settings], file: Path, dispatch: str | None) -> None:
    """Register the users of a CSV file.

    FILE has the columns name,email. Running the command again imports only the missing rows.
    """
    import_csv(
        cli,
        file,
        columns=["name", "email"],
        read=_registration,
        command=lambda users: ImportUsers(users=tuple(users)),
        imported=UserRegistered,
        dispatch=dispatch,
    )


def _registration(cells: Mapping[str, str]) -> RegisterUser:
    """Return the command for a row of a list of users; its id is new, and cannot be taken.

    :raises InvalidValue: if the name or the address is wrong
    """
    name, email = PersonName(cells["name"]).value, EmailAddress(cells["email"]).value
    return RegisterUser(user_id=UserId(uuid4()), name=name, email=email)


@commands.command()
@click.argument("user_id", type=click.UUID)
@click.argument("new_email")
@click.pass_obj
def change_email(cli: CommandLine[Settings], user_id: UUID, new_email: str) -> None:
    """Change a user's e-mail address, and notify the old one."""
    email = EmailAddress(new_email).value
    cli.handle(ChangeEmail(user_id=UserId(user_id), new_email=email))


@commands.command()
@click.argument("reference")
@click.argument("quantity", type=click.IntRange(1, MAX_QUANTITY))
@click.pass_obj
def add_coupon_batch(cli: CommandLine[Settings], reference: str, quantity: int) -> None:
    """Make QUANTITY more welcome coupons available."""
    cli.handle(AddCouponBatch(reference=BatchReference(reference).value, quantity=quantity))


@commands.command()
@click.argument("code", required=False)
@click.option(
    "--redemption-id",
    type=click.UUID,
    help="Id of the redemption; repeating the command with it changes nothing. Default: a new id",
)
@click.pass_obj
def redeem_coupon(cli: CommandLine[Settings], code: str | None, redemption_id: UUID | None) -> None:
    """Redeem the coupon with CODE.

    Without CODE, it is read from standard input, so that lists of processes do not show it.
    """
    given = CouponCode(code or _line_of_standard_input()).value
    command = RedeemCoupon(redemption_id=redemption_id or uuid4(), code=given)
    cli.handle(command, repeat_with=f"--redemption-id {command.redemption_id}")


@commands.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.pass_obj
def users(cli: CommandLine[Settings], as_json: bool) -> None:
    """List all users with their coupons."""
    cli.run(cli.load_settings(), partial(list_users, as_json=as_json))


@commands.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.pass_obj
def coupon_batches(cli: CommandLine[Settings], as_json: bool) -> None:
    """List the coupon batches, and how many coupons are left.

    The batches come in the order in which they are used up. Pending deliveries of
    allocate_welcome_coupon have not taken their coupons yet.
    """
    cli.run(cli.load_settings(), partial(_list_coupon_batches, as_json=as_json))


async def _list_coupon_batches(application: Application, *, as_json: bool) -> None:
    if not as_json:
        click.echo(f"{'REFERENCE':20}  REMAINING  QUANTITY")
    async with views.coupon_batches(application.database) as rows:
        await print_all(json_line(row) if as_json else _batch_line(row) async for row in rows)


def _batch_line(row: views.CouponBatchRow) -> str:
    return escape_controls(f"{row.reference:20}  {row.remaining:9}  {row.quantity}")


async def list_users(application: Application, *, as_json: bool = False) -> None:
    """Print all users, with a heading unless the output is JSON."""
    if not as_json:
        click.echo(_USER.format("USER_ID", "COUPON", "STATE", "USER"))
    async with views.users(application.database) as rows:
        await print_all(json_line(row) if as_json else _user_line(row) async for row in rows)


def _user_line(row: UserRow) -> str:
    note = " (no such address)" if row.email_undeliverable else ""
    coupon = row.coupon_code or "-", row.coupon_state or "-"
    line = _USER.format(str(row.user_id), *coupon, f"{row.name} <{row.email}>{note}")
    return escape_controls(line)


_USER = "{:36}  {:24}  {:9}  {}"


def _line_of_standard_input() -> str:
    """Return one line of standard input, which is empty if there is none."""
    return click.open_file("-", errors="replace").readline().strip() if sys.stdin else ""
