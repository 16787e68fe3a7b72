"""What operators do and see: what commands, routes and the page call."""

from aftercommit.extensions import old_events as old_events
from aftercommit.extensions.metrics.queue_metrics import is_outdated as is_outdated
from aftercommit.extensions.metrics.queue_metrics import queue_metrics as queue_metrics
from aftercommit.extensions.operations import batched_transactions as batched_transactions
from aftercommit.extensions.operations import causation_tree as causation_tree
from aftercommit.extensions.operations import delivery_admin as delivery_admin
from aftercommit.extensions.operations import erasing_events as erasing_events
from aftercommit.extensions.operations import handler_pauses as handler_pauses
from aftercommit.extensions.operations import limit_admin as limit_admin
from aftercommit.extensions.operations import replay as replay
from aftercommit.extensions.operations import retention as retention
from aftercommit.extensions.operations import trace_queries as trace_queries
from aftercommit.extensions.operations import worker_services as worker_services
from aftercommit.extensions.operations.causation_tree import Node as Node
from aftercommit.extensions.operations.causation_tree import summary as summary
from aftercommit.extensions.operations.csv_reader import MAX_LENGTH as MAX_LENGTH
from aftercommit.extensions.operations.csv_reader import read_rows as read_rows
from aftercommit.extensions.operations.decisions import LONGEST as LONGEST
from aftercommit.extensions.operations.decisions import latest_decisions as latest_decisions
from aftercommit.extensions.operations.delivery_admin import Delivery as Delivery
from aftercommit.extensions.operations.delivery_admin import Which as Which
from aftercommit.extensions.operations.delivery_admin import listed_deliveries as listed_deliveries
from aftercommit.extensions.operations.erasing_events import end_deliveries as end_deliveries
from aftercommit.extensions.operations.erasing_events import redact_mentions as redact_mentions
from aftercommit.extensions.operations.handler_pauses import Pause as Pause
from aftercommit.extensions.operations.json_logs import JsonFormatter as JsonFormatter
from aftercommit.extensions.operations.latest_commands import latest_commands as latest_commands
from aftercommit.extensions.operations.replay import Replay as Replay
from aftercommit.extensions.operations.replay import replay_of as replay_of
from aftercommit.extensions.operations.retention import prune as prune
from aftercommit.extensions.operations.secret_files import env_from_file as env_from_file
from aftercommit.extensions.operations.stuck_handlers import watching as watching
from aftercommit.extensions.operations.subject_lookup import nothing_but_ids as nothing_but_ids
from aftercommit.extensions.operations.trace_queries import Traces as Traces
from aftercommit.extensions.operations.trace_queries import find_traces as find_traces
from aftercommit.extensions.operations.trace_queries import message_query as message_query
from aftercommit.extensions.operations.trace_queries import trace_query as trace_query
from aftercommit.extensions.operations.unknown_names import unknown_handlers as unknown_handlers
from aftercommit.extensions.operations.worker_services import (
    unclaimable_deliveries as unclaimable_deliveries,
)
from aftercommit.process.application import all_names as all_names
