"""What viewers are sent: all that happens, in any process, and never more than is kept."""

from collections import Counter
from dataclasses import replace
from typing import Any
from uuid import UUID

import anyio
import pytest
import sqlalchemy as sa
from aftercommit import Application, Every, testing
from aftercommit.extensions.page import change_feed, queries
from aftercommit.extensions.page.change_feed import ChangeFeed

from aftercommit_tests.builders import MARIA, a_command, a_thing_id
from aftercommit_tests.extensions.page.conftest import LIMIT_SECONDS, Viewer
from aftercommit_tests.extensions.web.running import OPERATOR, Web
from aftercommit_tests.inside.claims import EventId
from aftercommit_tests.inside.operations import delivery_admin
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.things.domain import ThingPolished

pytestmark = pytest.mark.anyio

THING = a_thing_id()
DUE = ["announce", "look_at", "polish", "write_down"]


async def make_things(application: Application, number: int) -> None:
    """Make so many things, each in a trace of its own."""
    for _ in range(number):
        await application.bus.execute(a_command())


def feed_of(web: Web) -> ChangeFeed:
    """Return the feed, which is there as soon as somebody has asked."""
    feed: ChangeFeed = web.app.state.change_feed
    return feed


async def test_schedules_are_sent_when_they_change(web: Web) -> None:
    """The next time and the last one; nothing is sent again only because time passes."""
    every = [Every("hourly", "0 * * * *", lambda at: ThingPolished(thing_id=THING, name=str(at)))]
    web.app.state.application = application = replace(web.application, every=every)
    viewer = Viewer(web)
    await viewer.until(lambda _: viewer.outstanding.get("schedules"))
    [before] = viewer.outstanding["schedules"]

    await testing.time_comes(application, "hourly")
    await viewer.until(lambda _: viewer.outstanding["schedules"][0]["correlation_id"])

    [after] = viewer.outstanding["schedules"]
    assert (before["name"], before["next_at"], before["is_late"]) == ("hourly", None, False)
    assert after["next_at"] > after["last_at"]
    assert (after["missed"], after["is_late"]) == (0, False)


async def test_what_is_outstanding_is_sent_with_what_it_is_about(web: Web) -> None:
    """How much, by handler and state; the first of it; what is paused, and what nobody knows."""
    viewer = Viewer(web)
    await web.make_thing()
    await web.client.put("/handlers/praise/pause", headers=OPERATOR)
    forgotten = sa.update(tables.deliveries).where(tables.deliveries.c.handler == "forget")
    async with web.application.database.write_transaction() as transaction:
        await transaction.execute(forgotten.values(handler="forget_it"))
        await transaction.commit()

    await viewer.until(lambda _: viewer.traces and viewer.outstanding.get("unknown"))

    outstanding = viewer.outstanding
    states = {row["handler"]: (row["state"], row["count"]) for row in outstanding["counts"]}
    assert states == dict.fromkeys(DUE, ("due", 1)) | {"forget_it": ("scheduled", 1)}
    first, about = outstanding["first"], (viewer.trace["id"], "lamp")
    assert {row["handler"] for row in first} == states.keys()
    assert {(row["correlation_id"], row["about"]) for row in first} == {about}
    [paused] = outstanding["pauses"]
    assert (paused["handler"], paused["paused_by"]) == ("praise", "operator@127.0.0.1")
    [unknown] = outstanding["unknown"]
    assert (unknown["handler"], unknown["deliveries"]) == ("forget_it", 1)
    assert unknown["first_due_at"] > 0


async def test_a_very_long_trace_is_cut_and_says_so(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its beginning is sent: what is kept for all viewers has a size."""
    monkeypatch.setattr(change_feed, "MAX_BYTES", 1000)
    viewer = Viewer(web)
    await web.make_thing()
    await viewer.until_there_are(1)

    assert viewer.trace["more"]
    assert [node["kind"] for node in viewer.trace["nodes"]] == ["command", "event"]


async def test_of_traces_that_are_long_together_each_is_sent(
    web: Web, elsewhere: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read one by one; one that is too long itself says so."""
    monkeypatch.setattr(queries, "MAX_ROWS", 6)
    viewer = Viewer(web)
    await make_things(elsewhere, 2)
    await viewer.until_there_are(2)

    assert [len(trace["nodes"]) for trace in viewer.traces.values()] == [7, 7]
    assert not any(trace["more"] for trace in viewer.traces.values())


async def a_viewer_of_a_long_trace(web: Web, monkeypatch: pytest.MonkeyPatch) -> Viewer:
    """Return a viewer that has seen one trace, which has more rows than are read."""
    monkeypatch.setattr(queries, "TRACE_ROWS", 6)
    viewer, headers = Viewer(web), {"X-Request-ID": "one trace"}
    for name in ("lamp", "chair", "table"):
        await web.make_thing(name=name, headers=headers)
    await viewer.until_there_are(1)
    return viewer


async def test_of_a_trace_no_more_is_read_than_is_needed(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may make one that is very long, and changes all the time."""
    viewer = await a_viewer_of_a_long_trace(web, monkeypatch)

    kinds = Counter(node["kind"] for node in viewer.trace["nodes"])
    assert (kinds["event"], kinds["delivery"]) == (2, 6)
    assert viewer.trace["more"]


async def test_a_trace_that_is_known_to_be_long_is_not_summed_up_again(
    web: Web, elsewhere: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each poll would read all of it, and the polls of one viewer would keep a processor busy."""
    viewer = await a_viewer_of_a_long_trace(web, monkeypatch)
    [long], asked = viewer.traces, list[str]()
    sums = queries.fingerprints

    async def noted(transaction: Any, database: Any, ids: Any) -> Any:
        asked.extend(map(str, ids))
        return await sums(transaction, database, ids)

    monkeypatch.setattr(queries, "fingerprints", noted)
    await make_things(elsewhere, 1)
    await viewer.until_there_are(2)

    assert asked
    assert long not in asked


async def test_a_slow_viewer_is_sent_what_is_newest_once(
    web: Web, elsewhere: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no queue that could grow: what changed often meanwhile is sent as it is.

    It is told for how long it was behind, and, as soon as it has caught up, that it has.
    """
    monkeypatch.setattr(change_feed, "BUSY_SECONDS", 0.01)
    monkeypatch.setattr(change_feed, "IDLE_SECONDS", 0.01)
    slow, quick = Viewer(web), Viewer(web)
    await web.make_thing()
    await slow.until_there_are(1)
    await quick.until_there_are(1)
    event_id = next(n["id"] for n in quick.trace["nodes"] if n["kind"] == "event")
    before = slow.cursor
    for _ in range(5):
        seen = quick.trace
        await delivery_admin.retry(elsewhere.database, EventId(UUID(event_id)), "announce", MARIA)
        await quick.until(lambda _, seen=seen: quick.trace != seen)

    news = await slow.next()

    assert slow.cursor != before
    assert news["behind"] > 0
    assert len(news["traces"]) == 1
    assert slow.trace == quick.trace
    await slow.until(lambda news: news["behind"] == 0)


async def test_a_viewer_that_comes_back_is_sent_only_what_it_missed(
    web: Web, elsewhere: Application
) -> None:
    """By the cursor, which is that of one process."""
    before = Viewer(web)
    for number in (1, 2):
        await make_things(elsewhere, 1)
        await before.until_there_are(number)
    await make_things(elsewhere, 1)

    again = Viewer(web, before.cursor)
    await again.until_there_are(1)

    assert again.traces.keys().isdisjoint(before.traces)


@pytest.mark.parametrize(
    "cursor", ["x", "-1", "feed.", "feed.9999999999999999", "feed.-1", "feed.0.zz", "another.1"]
)
async def test_a_cursor_that_is_none_shows_everything(web: Web, cursor: str) -> None:
    """Anybody can send anything; and another process had other versions."""
    first = Viewer(web)
    await first.next()

    again = Viewer(web, cursor.replace("feed", first.cursor.partition(".")[0]))

    assert (await again.next())["full"]


async def test_only_the_newest_traces_are_kept_and_sent_in_pieces(
    web: Web, elsewhere: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, and however long somebody looks; and the page can say so."""
    monkeypatch.setattr(change_feed, "MAX_TRACES", 5)
    monkeypatch.setattr(change_feed, "PIECE", 2)
    viewer = Viewer(web)
    await make_things(elsewhere, 4)
    assert not (await viewer.until_there_are(4))["older"]
    await make_things(elsewhere, 4)
    assert (await viewer.until_there_are(8))["older"]

    another, sent, is_last = Viewer(web), list[str](), False
    while not is_last:
        news = await another.next()
        sent, is_last = sent + [trace["id"] for trace in news["traces"]], news["last"]

    newest = sorted(viewer.traces.values(), key=lambda trace: -trace["at"])[:5]
    assert sorted(sent) == sorted(trace["id"] for trace in newest)
    assert len([key for key in feed_of(web).fragments if isinstance(key, UUID)]) == 5


async def test_the_database_is_not_asked_when_nobody_looks(
    web: Web, elsewhere: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for all viewers together, and some seconds after the last one no more."""
    monkeypatch.setattr(change_feed, "WATCHED_SECONDS", 0.1)
    for viewer in (Viewer(web), Viewer(web), Viewer(web)):
        await viewer.next()
    feed = feed_of(web)
    with anyio.fail_after(LIMIT_SECONDS):
        while feed.is_running:
            await anyio.lowlevel.checkpoint()
    asked: list[str] = []
    engine = web.application.database.engine.sync_engine
    sa.event.listen(engine, "before_cursor_execute", lambda *args: asked.append(args[2]))

    await make_things(elsewhere, 1)
    assert asked == []
    monkeypatch.undo()
    await Viewer(web).until(lambda news: news["traces"])

    assert asked


async def test_a_database_in_trouble_is_reported_and_then_forgotten(
    web: Web, elsewhere: Application
) -> None:
    """The server lives on; the page says why it stands still."""

    async def rename(old: str, new: str) -> None:
        async with elsewhere.database.write_transaction() as transaction:
            await transaction.execute(sa.text(f"ALTER TABLE {old} RENAME TO {new}"))
            await transaction.commit()

    viewer = Viewer(web)
    await make_things(elsewhere, 1)
    await viewer.until_there_are(1)
    await rename("aftercommit_commands", "commandments")
    news = await viewer.until(lambda news: news.get("error"))
    await rename("commandments", "aftercommit_commands")
    await viewer.until(lambda news: "error" in news and news["error"] is None)
    await make_things(elsewhere, 1)
    await viewer.until_there_are(2)

    assert "commands" not in news["error"]


async def test_requests_that_wait_are_answered_when_the_process_stops(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and in good order."""
    monkeypatch.setattr(change_feed, "WAIT_SECONDS", 90.0)
    viewer = Viewer(web)
    await viewer.until(lambda news: "outstanding" in news)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(viewer.next)
            await anyio.wait_all_tasks_blocked()
            web.stop.set()
        await viewer.next()
