"""Raises the version of an aggregate whenever it, or a part of it, changes.

SQLAlchemy looks only at the aggregate's own row. Two transactions that each count the parts and
then add one would both be committed on PostgreSQL, with one part too many.

The parts of an aggregate are the objects in the relationships of its mapping.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from inspect import iscoroutinefunction
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import InstanceState, Mapper, Session, registry

from aftercommit.database.exceptions import PartWithoutAggregate
from aftercommit.errors import WiringError, raise_if_any
from aftercommit.repository import Aggregate, Repository, is_aggregate

UNVERSIONED = """aggregates are mapped without a version: give the table a column
    sa.Column("version", sa.Integer, nullable=False)
and write map_imperatively(…, version_id_col=table.c.version). They are"""
ASYNCHRONOUS = {"before_commit"}
UNMADE = "the unit of work cannot be made, so each handler with uow would fail:"
WRONG_METHODS = """methods of the unit of work have another form. The engine calls, if they exist,
async def before_commit(self) -> None, and def refusals(self, seen) -> Refusals: look at"""
UNMAPPED = """repositories have aggregates that are mapped onto no table. Write
    mapping.map_imperatively(Order, orders, version_id_col=orders.c.version)
before the application is opened, for"""


UNSORTED = """rows of one unit of work are written in the order of their keys. Give the type of the
key a `sort_key_function`, such as staticmethod(lambda key: key.value), which returns what sorts.
It is missing for"""


def ensure_versions(mapping: registry) -> None:
    """Refuse aggregates whose changes could not be detected, or could not be written together.

    :raises WiringError: if one is mapped without its version, or if its key is of a type that makes
        objects of its own, and does not say in which order these are

    >>> import sqlalchemy as sa
    >>> from sqlalchemy.orm import registry
    >>> from aftercommit import ensure_versions
    >>> from shop.domain.bases import Aggregate
    >>> class Cart(Aggregate):
    ...     pass
    >>> columns = sa.Column("id", sa.Uuid, primary_key=True), sa.Column("version", sa.Integer)
    >>> carts, mapping = sa.Table("carts", sa.MetaData(), *columns), registry()
    >>> mapper = mapping.map_imperatively(Cart, carts, version_id_col=carts.c.version)
    >>> ensure_versions(mapping)
    """
    _ensure_versions(each for each in mapping.mappers if hasattr(each.class_, "pull_events"))


def _ensure_versions(aggregates: Iterable[Mapper[Any]]) -> None:
    versions = {each: each.columns.get("version") for each in aggregates}
    wrong = [each for each, v in versions.items() if v is None or v is not each.version_id_col]
    raise_if_any(UNVERSIONED, [each.class_.__name__ for each in wrong])
    unsorted = [each for each in versions if any(map(_is_unsorted, each.primary_key))]
    raise_if_any(UNSORTED, [each.class_.__name__ for each in unsorted])


def _is_unsorted(key: sa.ColumnElement[Any]) -> bool:
    """Tell whether the objects of a key need an order: two of them cannot be compared."""
    made = type(key.type).process_result_value if isinstance(key.type, sa.TypeDecorator) else None
    makes_objects = made not in (None, sa.TypeDecorator.process_result_value)
    return makes_objects and key.type.sort_key_function is None


def ensure_usable(new_uow: Callable[[Any], object], transaction: object) -> None:
    """Make a unit of work once, and refuse one with which no handler could work.

    :raises WiringError: if it cannot be made, if its methods for the commit have another form, or
        if the aggregates of its repositories are not mapped, or have no version
    """
    try:
        uow = new_uow(transaction)
    except Exception as error:
        raise WiringError(f"{UNMADE} {type(error).__name__}", str(error)) from error
    has = {name: getattr(uow, name) for name in ("before_commit", "refusals") if hasattr(uow, name)}
    wrong = [name for name, it in has.items() if iscoroutinefunction(it) != (name in ASYNCHRONOUS)]
    raise_if_any(WRONG_METHODS, wrong)
    attributes = getattr(uow, "__dict__", {}).values()
    repositories = [each for each in attributes if isinstance(each, Repository)]
    mappers = {each.aggregate: sa.inspect(each.aggregate, raiseerr=False) for each in repositories}
    raise_if_any(UNMAPPED, [each.__name__ for each, mapper in mappers.items() if mapper is None])
    _ensure_versions(mappers.values())


SEEN = "aftercommit_seen"
"""Where a session keeps all objects that were added or loaded: also by cascades and relationships.

The session itself refers to them weakly, so it would forget one that was changed and flushed, and
with it the events that it has recorded.
"""


class AggregateSession(Session):
    """A session that writes aggregates as wholes."""

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        """Write what was added, changed and removed, with a new version of each aggregate.

        :raises PartWithoutAggregate: if a part was added or changed, and its aggregate is not here
        """
        dirty = filter(self.is_modified, self.dirty)
        changed = {id(entity): entity for entity in (*self.new, *dirty, *self.deleted)}
        owned = set[int]()
        for aggregate in list(filter(is_aggregate, self)) if changed else ():
            whole = {id(entity) for entity in _whole(aggregate)}
            if not whole.isdisjoint(changed):
                aggregate.version += 1  # its row is written, unless others have written it first
            owned |= whole
        for alone in changed.keys() - owned:
            raise PartWithoutAggregate(type(changed[alone]).__name__)
        super().flush(objects)


def _whole(aggregate: Aggregate) -> Iterator[object]:
    """Yield an aggregate and its parts, recursively, including removed ones."""
    yield aggregate
    state: InstanceState[Any] = sa.inspect(aggregate)
    for part, *_ in state.mapper.cascade_iterator("save-update", state, _is_aggregate):
        yield part


def _is_aggregate(state: InstanceState[Any]) -> bool:
    return is_aggregate(state.obj())


def _keep(session: Session, entity: object) -> None:
    session.info.setdefault(SEEN, []).append(entity)


sa.event.listen(AggregateSession, "transient_to_pending", _keep)
sa.event.listen(AggregateSession, "loaded_as_persistent", _keep)
sa.event.listen(AggregateSession, "detached_to_persistent", _keep)
