"""What happens instead of a handler that has failed for good.

Programs that do not know these columns still work.
"""

import sqlalchemy as sa
from alembic import op

revision = "aftercommit_100001"
down_revision = "aftercommit_1000"


def upgrade() -> None:
    op.add_column("aftercommit_deliveries", sa.Column("give_up_at", sa.Double()))
    op.add_column("aftercommit_deliveries", sa.Column("given_up", sa.String()))
