"""The command that lists how many coupons are left."""

import click

from allocation.adapters.operations import views
from allocation.bootstrap import Application
from allocation.entrypoints.cli.application import Options, json_line, print_all, set_up
from allocation.entrypoints.output import printable
from allocation.entrypoints.running import with_application


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def coupon_batches(options: Options, as_json: bool) -> None:
    """List the coupon batches in the order they are used up, and how many coupons each has left.

    What is still owed to allocate_welcome_coupon has not been taken off.
    """

    async def work(application: Application) -> None:
        async with views.coupon_batches(application.database) as rows:
            await print_all(json_line(row) if as_json else _line(row) async for row in rows)

    with_application(set_up(options), work)


def _line(row: views.CouponBatchRow) -> str:
    return printable(f"{row.reference}  {row.remaining} of {row.quantity} left")
