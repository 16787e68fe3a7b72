"""What is peculiar to PostgreSQL: its limits, and how a process finds out about its server."""

from aftercommit.extensions.postgresql import backend as backend
from aftercommit.extensions.postgresql import poolers as poolers
from aftercommit.extensions.postgresql import single_statements as single_statements
from aftercommit.extensions.postgresql import timeouts as timeouts
from aftercommit.extensions.postgresql.asyncpg_delivery_store import (
    AsyncpgDeliveryStore as AsyncpgDeliveryStore,
)
from aftercommit.extensions.postgresql.backend import PostgreSQL as PostgreSQL
from aftercommit.extensions.postgresql.connections import drop as drop
from aftercommit.extensions.postgresql.connections import server_settings as server_settings
from aftercommit.extensions.postgresql.notifications import PAUSE_SECONDS as PAUSE_SECONDS
from aftercommit.extensions.postgresql.timeouts import Timeouts as Timeouts
