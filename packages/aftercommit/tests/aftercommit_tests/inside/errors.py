"""The errors of docs/errors.md that have no public name: applications catch their kinds."""

from aftercommit.database.exceptions import DatabaseUnavailable as DatabaseUnavailable
from aftercommit.database.exceptions import PartWithoutAggregate as PartWithoutAggregate
from aftercommit.database.exceptions import SchemaOfAnother as SchemaOfAnother
from aftercommit.database.exceptions import SchemaOutdated as SchemaOutdated
from aftercommit.database.exceptions import SchemaTooNew as SchemaTooNew
from aftercommit.database.exceptions import SchemaTooOld as SchemaTooOld
from aftercommit.database.exceptions import StatementRefused as StatementRefused
from aftercommit.errors import DeliveriesOutstanding as DeliveriesOutstanding
from aftercommit.errors import DeliveryLocked as DeliveryLocked
from aftercommit.errors import HandlerNotFound as HandlerNotFound
from aftercommit.extensions.brokers.exceptions import BrokerUnavailable as BrokerUnavailable
from aftercommit.extensions.brokers.exceptions import ConfirmTimeoutError as ConfirmTimeoutError
from aftercommit.extensions.brokers.exceptions import MessageRefusedError as MessageRefusedError
from aftercommit.extensions.brokers.exceptions import MessageTooLarge as MessageTooLarge
from aftercommit.extensions.brokers.exceptions import MissingTopic as MissingTopic
from aftercommit.extensions.brokers.exceptions import QueueFull as QueueFull
from aftercommit.extensions.brokers.exceptions import TargetMissing as TargetMissing
from aftercommit.extensions.brokers.exceptions import UntranslatableMessage as UntranslatableMessage
from aftercommit.extensions.operations.exceptions import DeliveryNotFound as DeliveryNotFound
from aftercommit.extensions.operations.exceptions import OrderedHandler as OrderedHandler
from aftercommit.extensions.postgresql.backend import PermissionDenied as PermissionDenied
from aftercommit.extensions.postgresql.backend import SharedSessions as SharedSessions
from aftercommit.extensions.postgresql.backend import StatementTimeout as StatementTimeout
from aftercommit.extensions.postgresql.backend import UnsuitableDatabase as UnsuitableDatabase
from aftercommit.extensions.smtp.exceptions import EmailRefused as EmailRefused
from aftercommit.extensions.smtp.exceptions import MailServerUnavailable as MailServerUnavailable
