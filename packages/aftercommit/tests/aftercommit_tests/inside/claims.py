"""Claims, work and messages: what tests build, and compare with what they get."""

from aftercommit import limits as limits
from aftercommit.attempt import CONFLICT_DELAY as CONFLICT_DELAY
from aftercommit.claims import Claim as Claim
from aftercommit.claims import CommandWork as CommandWork
from aftercommit.claims import Committed as Committed
from aftercommit.claims import Failure as Failure
from aftercommit.claims import NewDelivery as NewDelivery
from aftercommit.claims import Report as Report
from aftercommit.claims import WorkItem as WorkItem
from aftercommit.deliveries.store import SqlAlchemyDeliveryStore as SqlAlchemyDeliveryStore
from aftercommit.deliveries.unit_of_work_scope import (
    SqlAlchemyUnitOfWorkScope as SqlAlchemyUnitOfWorkScope,
)
from aftercommit.delivery_policy import DeliveryPolicy as DeliveryPolicy
from aftercommit.envelope_factory import MAX_DEPTH as MAX_DEPTH
from aftercommit.envelopes import INTERNAL as INTERNAL
from aftercommit.envelopes import EventId as EventId
from aftercommit.envelopes import HandlerSubscription as HandlerSubscription
from aftercommit.envelopes import MessageContext as MessageContext
from aftercommit.envelopes import current_context as current_context
from aftercommit.envelopes import current_traceparent as current_traceparent
from aftercommit.handler_binding import PER_ATTEMPT as PER_ATTEMPT
from aftercommit.handler_binding import BoundHandler as BoundHandler
from aftercommit.handler_entries import Entry as Entry
from aftercommit.handler_entries import Handler as Handler
