"""Raises the version of an aggregate whenever anything in it changes, also a part of it.

SQLAlchemy looks only at the aggregate's own row. Two transactions that each add a part, after both
have counted the same ones, would both be committed on PostgreSQL: one too many.

The parts of an aggregate are what it has by a relationship of its mapping, and its `new_parts`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import InstanceState, Session, registry

from aftercommit.errors import raise_if_any
from aftercommit.sql.exceptions import PartWithoutAggregate
from aftercommit.unit_of_work import Recorder, is_recorder

UNVERSIONED = """aggregates are mapped without a version: give the table a column
    sa.Column("version", sa.Integer, nullable=False)
and say map_imperatively(…, version_id_col=table.c.version). They are"""


def ensure_versions(mapping: registry) -> None:
    """Refuse aggregates whose changes nobody could tell.

    :raises WiringError: if one is mapped without its version

    >>> import sqlalchemy as sa
    >>> from sqlalchemy.orm import registry
    >>> from aftercommit import ensure_versions
    >>> from shop.domain.aggregate import Aggregate
    >>> class Cart(Aggregate):
    ...     pass
    >>> columns = sa.Column("id", sa.Uuid, primary_key=True), sa.Column("version", sa.Integer)
    >>> carts, mapping = sa.Table("carts", sa.MetaData(), *columns), registry()
    >>> mapper = mapping.map_imperatively(Cart, carts, version_id_col=carts.c.version)
    >>> ensure_versions(mapping)
    """
    aggregates = [each for each in mapping.mappers if hasattr(each.class_, "pull_events")]
    versions = {each: each.columns.get("version") for each in aggregates}
    wrong = [each for each, v in versions.items() if v is None or v is not each.version_id_col]
    raise_if_any(UNVERSIONED, [each.class_.__name__ for each in wrong])


class AggregateSession(Session):
    """A session that writes aggregates as wholes."""

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        """Write what was added, changed and removed, and each aggregate of it with a new version.

        :raises PartWithoutAggregate: if a part was added or changed, and its aggregate is not here
        """
        dirty = filter(self.is_modified, self.dirty)
        changed = {id(entity): entity for entity in (*self.new, *dirty, *self.deleted)}
        owned = set[int]()
        for aggregate in list(filter(is_recorder, self)) if changed else ():
            whole = {id(entity) for entity in _whole(aggregate)}
            if not whole.isdisjoint(changed):
                aggregate.version += 1  # so its row is written, unless others have written it first
            owned |= whole
        for alone in changed.keys() - owned:
            raise PartWithoutAggregate(type(changed[alone]).__name__)
        super().flush(objects)


def _whole(aggregate: Recorder) -> Iterator[object]:
    """Yield an aggregate and its parts, and theirs; also what was removed from it."""
    yield aggregate
    yield from aggregate.new_parts
    state: InstanceState[Any] = sa.inspect(aggregate)
    for part, *_ in state.mapper.cascade_iterator("save-update", state, _is_aggregate):
        yield part


def _is_aggregate(state: InstanceState[Any]) -> bool:
    return is_recorder(state.obj())
