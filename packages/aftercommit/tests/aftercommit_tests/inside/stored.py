"""What is stored: the tables of docs/tables.md, their history, and their states."""

from aftercommit.sql import inbox as inbox
from aftercommit.sql import tables as tables
from aftercommit.sql.claim_ends import BATCH_SIZE as BATCH_SIZE
from aftercommit.sql.claim_ends import LEASE_EXPIRED as LEASE_EXPIRED
from aftercommit.sql.database import backend_for as backend_for
from aftercommit.sql.database_url import parse_url as parse_url
from aftercommit.sql.database_url import shown as shown
from aftercommit.sql.inbox import record_command as record_command
from aftercommit.sql.lane_unblocking import mend_lanes as mend_lanes
from aftercommit.sql.lane_unblocking import unblock_heads as unblock_heads
from aftercommit.sql.lanes import PARTS as PARTS
from aftercommit.sql.lanes import lock_keys as lock_keys
from aftercommit.sql.lanes import lock_lanes as lock_lanes
from aftercommit.sql.migrations.history import ENGINE as ENGINE
from aftercommit.sql.migrations.history import PREFIX as PREFIX
from aftercommit.sql.migrations.upgrade import upgrade_histories as upgrade_histories
from aftercommit.sql.schema import check_schema as check_schema
from aftercommit.sql.schema import upgrade_schema as upgrade_schema
from aftercommit.sql.tables import commands as commands
from aftercommit.sql.tables import decisions as decisions
from aftercommit.sql.tables import deliveries as deliveries
from aftercommit.sql.tables import events as events
from aftercommit.sql.tables import handler_pauses as handler_pauses
from aftercommit.sql.tables import metadata as metadata
