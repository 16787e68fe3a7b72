"""The order in which transactions lock rows that others lock, too, to avoid deadlocks.

First events, by their time; then lanes, by the keys of their locks (see `lanes.py`); then pauses;
then deliveries, by their keys. A transaction that locks less skips steps: a handler that completes
its delivery locks a lane and a row, a batch of last writes only rows, retention only events before
it deletes. A claim waits for nobody: it skips locked rows. So do last writes, which are made again.

SQLite has one writer at a time, and locks no rows.
"""

import sqlalchemy as sa

from aftercommit.database.database import Database
from aftercommit.deliveries.states import Transition
from aftercommit.deliveries.tables import deliveries

KEY = deliveries.c.event_id, deliveries.c.handler


def change_in_order(
    database: Database,
    transition: Transition,
    *which: sa.ColumnElement[bool],
    skip_locked: bool = False,
) -> sa.Update:
    """Return the statement for a change that locks all of these deliveries before it changes one.

    A plain UPDATE locks rows in the order in which its plan finds them.
    """
    if database.backend.single_writer:
        return transition.update(*which)
    these = in_order(*which, transition.when, skip_locked=skip_locked).cte("these")
    return transition.update_found(*(column == these.c[column.name] for column in KEY))


def in_order(*which: sa.ColumnElement[bool], skip_locked: bool = False) -> sa.Select[object, str]:
    """Return the statement that locks these deliveries in the order of their keys."""
    these = sa.select(*KEY).where(*which).order_by(*KEY)
    return these.with_for_update(skip_locked=skip_locked)
