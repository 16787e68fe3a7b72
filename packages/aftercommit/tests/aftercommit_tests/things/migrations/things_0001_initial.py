"""The first schema."""

from aftercommit_tests.things.storage import metadata
from alembic import op

revision = "things_0001"
down_revision = None


def upgrade() -> None:
    metadata.create_all(op.get_bind())
