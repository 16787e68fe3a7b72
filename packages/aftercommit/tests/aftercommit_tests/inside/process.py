"""What a process is made of: its worker, its output, its commands."""

from aftercommit.cli import commands as commands
from aftercommit.cli.command_group import OF_ALL as OF_ALL
from aftercommit.cli.command_group import LazyCommand as LazyCommand
from aftercommit.extensions import circuit_breaker as circuit_breaker
from aftercommit.extensions.circuit_breaker import CircuitBreaker as CircuitBreaker
from aftercommit.observers import CompositeObserver as CompositeObserver
from aftercommit.outbox import handler_thread as handler_thread
from aftercommit.outbox.worker_thread import WorkerThread as WorkerThread
from aftercommit.process import worker as worker
from aftercommit.process.logging_setup import TextFormatter as TextFormatter
from aftercommit.process.logging_setup import set_up_logging as set_up_logging
from aftercommit.process.running_services import run as run
from aftercommit.terminal.nonblocking_output import MAX_WAITING as MAX_WAITING
from aftercommit.terminal.nonblocking_output import drawing as drawing
from aftercommit.terminal.nonblocking_output import lifespan as lifespan
