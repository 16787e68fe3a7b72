"""Binds handlers to what they ask for, once, at start, so that errors show before a handler runs.

A handler's signature decides what is guaranteed (see `handler_entries.py`), so combinations that
could lose or double work are refused here.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from inspect import getmembers_static, iscoroutinefunction, signature, unwrap
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from aftercommit.claims import Failure, WorkItem
from aftercommit.errors import CausationTooDeep, UnexpectedAnswer, WiringError, raise_if_any
from aftercommit.giving_up import GivenUp
from aftercommit.handler_containment import contain
from aftercommit.handler_entries import Handler, handler_name, handler_of, otherwise_of
from aftercommit.handler_table import Handlers
from aftercommit.ports import DeliveryStore

PER_ATTEMPT: Mapping[str, Callable[[Any, Any], Any]] = {
    "uow": lambda work, uow: uow,
    "session": lambda work, uow: uow.session,
    "idempotency_key": lambda delivery, uow: delivery.idempotency_key,
    "envelope": lambda delivery, uow: delivery.envelope,
    "failure": lambda delivery, uow: delivery.given_up,
    "last_error": lambda delivery, uow: delivery.last_error,
}
OF_FAILURES = {"failure", "last_error"}  # for what happens instead of a handler
IN_TRANSACTION = {"uow", "session"}
NOBODY = """asks for what nobody provides. Handlers ask by the names of parameters: for {0},
which each attempt has, and for now, new_id and new_token. Give others by name to Dependencies, or
to Outbox, as ports if they have an external effect; or remove the parameter. It is"""
SPLIT_IT = """and for an external effect. No transaction holds both: split it in two.
First the database, then the external system: record an event, and handle it without {0}.
    {1}
First the external system, then the database: without {0}, {2}
The external effects are"""
RECORD = {
    "uow": "self.record(events.OrderPlaced(order_id=self.id))",
    "session": "await outbox.record(session, OrderPlaced(order.id), about=order.id)",
}
RETURN = {
    "uow": """return a command, which is executed.
    return commands.RecordPayment(order_id=event.order_id, receipt=receipt.id)""",
    "session": "record an event in a session of your own.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """What handlers may ask for by name, besides what is made for every attempt.

    `effect_ports` have effects that no rollback undoes; a port that is None is not configured in
    this process. `queries` read committed data. `constants` have no effect at all.

    :raises WiringError: if a name is given twice, or if a constant could have an effect

    >>> from aftercommit import Dependencies
    >>> dependencies = Dependencies(
    ...     effect_ports={"emails": None},  # not here: handlers that ask for it do not run
    ...     queries={},
    ...     constants={"shop_name": "Lamps and more"},
    ... )
    """

    effect_ports: Mapping[str, Any]
    queries: Mapping[str, Any]
    constants: Mapping[str, Any]

    def __post_init__(self) -> None:
        names = Counter([*PER_ATTEMPT, *self.effect_ports, *self.queries, *self.constants])
        twice = [name for name, count in names.items() if count > 1]
        raise_if_any("two things that handlers may ask for have the same name", twice)
        ports = [name for name, value in self.constants.items() if _is_asynchronous(value)]
        raise_if_any("effect ports among the constants; move them to `effect_ports`", ports)


class BoundHandler:
    """A handler together with what its parameters, after the message, ask for by name.

    :raises WiringError: if it asks for something unknown, or for an impossible combination
    """

    def __init__(
        self,
        handler: Handler[Any, Any],
        dependencies: Dependencies,
        may_ask: Collection[str] = PER_ATTEMPT.keys() - {"session", *OF_FAILURES},
    ) -> None:
        self.name, self.handler = handler_name(handler), handler
        asks_for = set(list(signature(handler).parameters)[1:])
        try:
            signature(handler).bind(object(), **dict.fromkeys(asks_for))
        except TypeError as error:
            problem = f"{self.name} has to take a message, and then, by name, what it asks for"
            raise WiringError(problem, str(error)) from None

        def chosen(offered: Mapping[str, Any]) -> dict[str, Any]:
            return {name: offered[name] for name in asks_for & offered.keys()}

        queries, self.ports = chosen(dependencies.queries), chosen(dependencies.effect_ports)
        self.given = chosen(dependencies.constants) | queries | self.ports
        self.made = chosen({name: PER_ATTEMPT[name] for name in may_ask})
        unknown = asks_for - self.given.keys() - self.made.keys()
        raise_if_any(f"{self.name} {NOBODY.format(', '.join(sorted(may_ask)))}", unknown)
        self.is_transactional = not asks_for.isdisjoint(IN_TRANSACTION)
        self.is_in_thread = hasattr(handler, "synchronous")  # so it cannot be stopped
        self.is_available = None not in self.ports.values()
        self._returns = _returned_types(handler)
        self.answers = self._returns - {NoneType}
        for asked in asks_for & IN_TRANSACTION:
            split_it = SPLIT_IT.format(asked, RECORD[asked], RETURN[asked])
            raise_if_any(f"{self.name} asks for {asked} {split_it}", self.ports)
            returned = map(str, self.answers)
            raise_if_any(f"{self.name} has {asked}, so it need not return a command", [*returned])
            # the query would hold a connection, and wait for another one
            problem = f"{self.name} can read from {asked}, so it may not ask for"
            raise_if_any(problem, queries)

    async def run(self, work: WorkItem, uow: object) -> object:
        """Make one attempt; return the command that the handler has returned, if it may return one.

        :raises HandlerInterrupted: if it tried to end the process, or made up a cancellation
        :raises UnexpectedAnswer: if it has returned another type than its annotation
        """
        made = {name: make(work, uow) for name, make in self.made.items()}
        try:
            answer = await self.handler(work.message, **self.given, **made)
        except BaseException as error:
            contain(error, self.name)
            raise
        if type(answer) not in self._returns:
            raise UnexpectedAnswer(self.name, answer)
        return answer


class ByType(dict[type[Any], BoundHandler]):
    """The handlers of commands, by type."""

    def __missing__(self, command: type[Any]) -> BoundHandler:
        raise WiringError("commands without an entry in the table of handlers", command.__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundHandlers:
    """The handlers that this process can run: of commands by type, of events by name."""

    commands: Mapping[type[Any], BoundHandler]
    events: Mapping[str, BoundHandler]
    limited: Collection[str] = ()  # the names of handlers with a limit
    instead: Mapping[str, BoundHandler] = field(default_factory=dict)
    """What happens instead of handlers that have failed for good, by the names of these."""

    def ensure_known_to(self, store: DeliveryStore) -> None:
        """Refuse a store that would claim too much, or would park what is not over.

        :raises WiringError: if it does not know the limits, or what happens instead
        """
        limited, instead = {*self.limited} - {*store.limits}, self.instead.keys() - {*store.instead}
        problem = "pass the table's {} to new_delivery_store: it does not know those of"
        raise_if_any(problem.format("limits"), limited)
        raise_if_any(problem.format("instead"), instead)

    def or_instead(self, failure: Failure) -> Failure:
        """Return a failure as it is; or, if it would park the delivery, that `instead` runs next.

        A chain of events that is too deep goes no further: it would be a cycle.
        """
        claim, error = failure.delivery, failure.error
        is_over = failure.retry_in is None and claim.given_up is None
        if is_over and claim.handler in self.instead and not isinstance(error, CausationTooDeep):
            given_up = GivenUp.after(error, claim.attempt)
            return replace(failure, retry_in=0.0, given_up=given_up)
        return failure


def bind(
    handlers: Handlers[object, object], dependencies: Dependencies, *, transaction: str = "uow"
) -> BoundHandlers:
    """Bind every handler, except handlers of events whose effect port is not configured.

    A handler that works in the transaction asks for it by the name `transaction`.

    :raises WiringError: if something is missing, unknown, ambiguous, or an impossible combination

    >>> from aftercommit import Dependencies, bind
    >>> from shop.service_layer.handlers import HANDLERS
    >>> ports, queries = {"emails": None}, {"is_cancelled": None}
    >>> without_emails = Dependencies(effect_ports=ports, queries=queries, constants={})
    >>> sorted(bind(HANDLERS.publishing_to({}), without_emails).events)
    ['count_cancellation', 'count_order']
    """
    commands, renamed = handlers.commands, handlers.renamed
    handlers.ensure_lanes()
    entries = [*((c, [h]) for c, h in commands.items()), *handlers.events.items()]
    misplaced = [_misplaced(entry, each) for entry, listed in entries for each in listed]
    ends = [(entry, otherwise_of(each)) for entry, listed in entries for each in listed]
    misplaced += [_misplaced(entry, said.instead) for entry, said in ends if said]
    raise_if_any("handlers do not fit the message of their entry", [*filter(None, misplaced)])
    of_commands = {c: BoundHandler(h, dependencies, [transaction]) for c, h in commands.items()}
    without_uow = [handler.name for handler in of_commands.values() if not handler.is_transactional]
    raise_if_any("handlers of commands have to ask for uow; these do not", without_uow)
    may_ask = PER_ATTEMPT.keys() - IN_TRANSACTION - OF_FAILURES | {transaction}
    by_name = handlers.by_name().items()
    bound = {name: BoundHandler(each, dependencies, may_ask) for name, each in by_name}
    lost, kept = set(renamed.values()) - bound.keys(), renamed.keys() & bound.keys()
    raise_if_any("`renamed` maps an unused old name to a current one. Not so", lost | kept)
    instead = {
        name: _bind_instead(name, each, dependencies, transaction)
        for name, each in handlers.instead.items()
    }
    every = *bound.values(), *instead.values()
    returned = {answer for handler in every for answer in handler.answers}
    unknown = map(str, returned - commands.keys())
    raise_if_any("handlers may return only commands that have a handler", [*unknown])
    bound |= {old: bound[new] for old, new in renamed.items()}
    of_events = {name: handler for name, handler in bound.items() if handler.is_available}
    limited = handlers.limited
    return BoundHandlers(
        commands=ByType(of_commands),
        events=of_events,
        limited={name for name, handler in bound.items() if handler.name in limited},
        instead=instead,
    )


def _bind_instead(
    name: str, instead: Handler[Any, Any], dependencies: Dependencies, transaction: str
) -> BoundHandler:
    """Bind what happens instead of a handler: it works in the transaction that ends the delivery.

    :raises WiringError: if it has no part in that, or an external effect, which could not be undone
    """
    may_ask = PER_ATTEMPT.keys() - IN_TRANSACTION | {transaction}
    bound = BoundHandler(instead, dependencies, may_ask)
    problem = f"{bound.name} runs instead of {name}, so it may not ask for an external effect"
    raise_if_any(problem, bound.ports)
    does_nothing = not bound.is_transactional and not bound.answers
    what = "asks for session" if transaction == "session" else "returns a command"
    problem = f"what runs instead of {name} {what}. Not so"
    raise_if_any(problem, [bound.name] * does_nothing)
    return bound


def _misplaced(message: type, subscriber: object) -> str | None:
    """Return what is wrong if a handler is for other messages, by its annotation."""
    handler = handler_of(subscriber)
    try:
        said = types_of(handler, next(iter(signature(handler).parameters)), object)
        if Any in said or any(issubclass(message, each) for each in said):
            return None
    except Exception:  # of a type that only a checker imports or knows; `PUBLISH` has none, too
        return None
    names = " or ".join(sorted(each.__name__ for each in said))
    return f"{handler_name(handler)} in on({message.__name__}, …) handles {names}"


def _returned_types(handler: Handler[Any, Any]) -> set[type]:
    """Return the types that a handler may return, by its annotation; None's without one."""
    try:
        return types_of(handler, "return", NoneType)
    except Exception as error:
        problem = f"the return type cannot be read ({error}): import it at run time, too"
        raise WiringError(problem, handler_name(handler)) from error


def types_of(handler: Handler[Any, Any], name: str, otherwise: type) -> set[type]:
    """Return the types in one annotation of a handler; without it, another type."""
    function: Any = unwrap(handler)  # other parameters may have types that only a checker imports
    said = {key: said for key, said in function.__annotations__.items() if key == name}
    hints = get_type_hints(SimpleNamespace(__annotations__=said), function.__globals__)
    type_ = hints.get(name, otherwise)
    return set(get_args(type_) if get_origin(type_) in (Union, UnionType) else [type_])


def _is_asynchronous(value: object) -> bool:
    members = [member for _, member in getmembers_static(type(value))]
    return any(map(iscoroutinefunction, [value, *members]))
