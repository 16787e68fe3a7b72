"""Coupon batches: on which day somebody was told that the coupons have run out."""

from datetime import date

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

batches = sa.table(
    "coupon_batches", sa.column("remaining"), sa.column("reported_on", type_=sa.Date())
)


def upgrade() -> None:
    op.add_column("coupon_batches", sa.Column("reported_on", sa.Date()))
    # until now, everybody who went without was reported: of the old batches no more is news
    old = sa.update(batches).where(batches.c.remaining == 0)
    op.execute(old.values(reported_on=date(1970, 1, 1)))
