"""What viewers are sent: all that happens, in any process, and never more than is kept."""

from collections import Counter
from uuid import UUID

import anyio
import pytest
import sqlalchemy as sa
from aftercommit.envelopes import EventId
from aftercommit.extensions.operations import delivery_admin
from aftercommit.extensions.page import change_feed, queries
from aftercommit.process.application import Application

from allocation.domain.commands import RegisterUser
from allocation.domain.events import UserId
from tests.integration.extensions.page.conftest import (
    LIMIT_SECONDS,
    Json,
    Viewer,
    feed_of,
)
from tests.integration.extensions.web.conftest import Web
from tests.web import OPERATOR

pytestmark = pytest.mark.anyio


def only(viewer: Viewer) -> Json:
    [trace] = viewer.traces.values()
    return trace


def states(trace: Json) -> dict[str, str]:
    """Return the state of each delivery."""
    return {n["name"]: n["state"] for n in trace["nodes"] if n["kind"] == "delivery"}


async def work(application: Application) -> None:
    """Do all that is due."""
    names = list(application.bus.registry.events)
    while claimed := await application.bus.outbox.claim(100, names):
        await application.bus.run(claimed)


async def register(application: Application, number: int) -> None:
    address = f"user{number}@example.com"
    user_id = UserId(UUID(int=number))
    await application.bus.execute(RegisterUser(user_id=user_id, name="Иван", email=address))


async def a_delivery(viewer: Viewer) -> tuple[EventId, str]:
    """Return the key of some delivery of the trace that there is."""
    id_ = next(n["id"] for n in only(viewer)["nodes"] if n["kind"] == "delivery")
    event_id, _, handler = id_.partition(":")
    return EventId(UUID(event_id)), handler


async def test_a_trace_grows_while_somebody_looks(web: Web, elsewhere: Application) -> None:
    """In any process: here one process takes the command, and another one does the rest."""
    viewer = Viewer(web)
    await web.register_user()
    await viewer.until(lambda _: viewer.traces)
    assert set(states(only(viewer)).values()) == {"due"}

    await work(elsewhere)

    await viewer.until(lambda _: set(states(only(viewer)).values()) == {"done"})
    nodes = only(viewer)["nodes"]
    assert Counter(n["kind"] for n in nodes) == {"command": 1, "event": 2, "delivery": 4}
    assert nodes[1]["about"] == "Иван <ivan@example.com>"
    done = [node for node in nodes if node["kind"] == "delivery"]
    assert {node["owner"] for node in done} == {elsewhere.database.process}
    assert {node["token"] for node in done} == {2}


async def test_what_is_outstanding_is_sent_with_whom_it_is_about(web: Web) -> None:
    """How much of it, by handler and state; and the first of it."""
    viewer = Viewer(web)
    await web.register_user()
    await viewer.until(lambda _: viewer.traces and viewer.outstanding["first"])

    assert {row["state"] for row in viewer.outstanding["counts"]} == {"due"}
    assert sum(row["count"] for row in viewer.outstanding["counts"]) == 4
    assert {row["handler"] for row in viewer.outstanding["first"]} == {*states(only(viewer))}
    assert {row["correlation_id"] for row in viewer.outstanding["first"]} == {*viewer.traces}
    assert {row["about"] for row in viewer.outstanding["first"]} == {"Иван <ivan@example.com>"}


async def test_who_has_paused_what_is_sent(web: Web) -> None:
    """Also if no delivery of it is outstanding."""
    viewer = Viewer(web)
    await web.client.put("/handlers/send_welcome_email/pause", headers=OPERATOR)

    await viewer.until(lambda _: viewer.outstanding.get("pauses"))

    [paused] = viewer.outstanding["pauses"]
    assert (paused["handler"], paused["paused_by"]) == ("send_welcome_email", "operator@127.0.0.1")


async def test_a_very_long_trace_is_cut_and_says_so(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its beginning is sent: what is kept for all viewers has a size."""
    monkeypatch.setattr(change_feed, "MAX_BYTES", 1000)
    viewer = Viewer(web)
    await web.register_user()
    await viewer.until(lambda _: viewer.traces)

    assert only(viewer)["more"]
    assert [node["kind"] for node in only(viewer)["nodes"]] == ["command", "event"]


async def test_of_traces_that_are_long_together_each_is_sent(
    web: Web, elsewhere: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read one by one; one that is too long itself says so."""
    monkeypatch.setattr(queries, "MAX_ROWS", 5)
    viewer = Viewer(web)
    for number in range(2):
        await register(elsewhere, number)
    await viewer.until(lambda _: len(viewer.traces) == 2)

    assert [len(trace["nodes"]) for trace in viewer.traces.values()] == [6, 6]
    assert not any(trace["more"] for trace in viewer.traces.values())


async def test_of_a_trace_no_more_is_read_than_is_needed(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may make one that is very long, and changes all the time."""
    monkeypatch.setattr(queries, "TRACE_ROWS", 5)
    viewer, headers = Viewer(web), {"X-Request-ID": "one trace"}
    for number in range(3):
        await web.register_user(email=f"user{number}@example.com", headers=headers)
    await viewer.until(lambda _: viewer.traces)

    nodes = only(viewer)["nodes"]
    assert [node["kind"] for node in nodes if node["kind"] != "command"] == [
        *("event", *["delivery"] * 4),
        *("event", "delivery"),
    ]
    assert only(viewer)["more"]


async def test_a_slow_viewer_is_sent_what_is_newest_once(
    web: Web, elsewhere: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no queue that could grow: what changed often meanwhile is sent as it is.

    It is told for how long it was behind, and, as soon as it has caught up, that it has.
    """
    monkeypatch.setattr(change_feed, "BUSY_SECONDS", 0.0)
    monkeypatch.setattr(change_feed, "IDLE_SECONDS", 0.0)
    slow, quick = Viewer(web), Viewer(web)
    await web.register_user()
    await slow.until(lambda _: slow.traces)
    await quick.until(lambda _: quick.traces)
    key, before = await a_delivery(quick), slow.cursor
    for _ in range(20):
        seen = only(quick)
        await delivery_admin.retry(elsewhere.database, *key)
        await quick.until(lambda _, seen=seen: only(quick) != seen)

    news = await slow.next()

    assert slow.cursor != before
    assert news["behind"] > 0
    assert len(news["traces"]) == 1
    assert only(slow) == only(quick)
    await slow.until(lambda news: news["behind"] == 0)


async def test_who_comes_back_is_sent_only_what_it_missed(web: Web, elsewhere: Application) -> None:
    """By the cursor, which is that of one process."""
    before = Viewer(web)
    await register(elsewhere, 1)
    await before.until(lambda _: before.traces)
    await register(elsewhere, 2)
    await before.until(lambda _: len(before.traces) == 2)
    await register(elsewhere, 3)

    again = Viewer(web, before.cursor)
    await again.until(lambda _: again.traces)
    another = Viewer(web, f"another{before.cursor}")
    news = await another.next()
    await another.until(lambda _: len(another.traces) == 3)

    assert len(again.traces) == 1
    assert again.traces.keys().isdisjoint(before.traces)
    assert news["full"]


@pytest.mark.parametrize(
    "cursor", ["x", "-1", "{feed}.", "{feed}.9999999999999999", "{feed}.-1", "{feed}.0.zz"]
)
async def test_a_cursor_that_is_none_shows_everything(web: Web, cursor: str) -> None:
    """Anybody can send anything."""
    first = Viewer(web)
    await first.next()

    again = Viewer(web, cursor.replace("{feed}", first.cursor.partition(".")[0]))

    assert (await again.next())["full"]


async def test_a_new_viewer_is_sent_everything_in_pieces(
    web: Web, elsewhere: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each trace once, however many there are, and whatever changes last, last."""
    monkeypatch.setattr(change_feed, "PIECE", 2)
    for number in range(1, 6):
        await register(elsewhere, number)
    known = Viewer(web)
    await known.until(lambda _: len(known.traces) == 5)

    viewer, sent = Viewer(web), []
    while not (news := await viewer.next())["last"]:
        sent += [trace["id"] for trace in news["traces"]]
    sent += [trace["id"] for trace in news["traces"]]

    assert sorted(sent) == sorted(known.traces)
    assert viewer.traces == known.traces


async def test_only_the_newest_traces_are_kept(
    web: Web, elsewhere: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, and however long somebody looks; and the page can say so."""
    monkeypatch.setattr(change_feed, "MAX_TRACES", 5)
    monkeypatch.setattr(change_feed, "PIECE", 2)
    for number in range(1, 5):
        await register(elsewhere, number)
    viewer = Viewer(web)
    news = await viewer.until(lambda _: len(viewer.traces) == 4)
    assert not news["older"]
    for number in range(5, 9):
        await register(elsewhere, number)
    news = await viewer.until(lambda _: len(viewer.traces) == 8)
    kept = [key for key in feed_of(web).fragments if isinstance(key, UUID)]

    assert news["older"]
    assert len(kept) == 5
    newest = sorted(viewer.traces.values(), key=lambda trace: -trace["at"])[:5]
    assert {str(id_) for id_ in kept} == {trace["id"] for trace in newest}


async def test_nobody_is_asked_when_nobody_looks(
    web: Web, elsewhere: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is asked for all viewers together, and some seconds later no more."""
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

    await register(elsewhere, 1)
    assert asked == []
    monkeypatch.undo()
    viewer = Viewer(web)
    await viewer.until(lambda _: viewer.traces)

    assert asked


async def test_a_database_in_trouble_is_reported_and_then_forgotten(
    web: Web, elsewhere: Application
) -> None:
    """The server lives on; the page says why it stands still."""
    viewer = Viewer(web)
    await web.register_user()
    await viewer.until(lambda _: viewer.traces)
    await rename(elsewhere, "aftercommit_commands", "commandments")
    news = await viewer.until(lambda news: news.get("error"))
    await rename(elsewhere, "commandments", "aftercommit_commands")
    await viewer.until(lambda news: "error" in news and news["error"] is None)
    await web.register_user(email="maria@example.com")
    await viewer.until(lambda _: len(viewer.traces) == 2)

    assert "commands" not in news["error"]


async def rename(application: Application, old: str, new: str) -> None:
    async with application.database.write_transaction() as transaction:
        await transaction.execute(sa.text(f"ALTER TABLE {old} RENAME TO {new}"))
        await transaction.commit()


async def test_requests_that_wait_are_answered_when_the_process_stops(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and in good order."""
    monkeypatch.setattr(change_feed, "WAIT_SECONDS", 10.0 * LIMIT_SECONDS)
    viewer = Viewer(web)
    await viewer.until(lambda news: "outstanding" in news)
    async with anyio.create_task_group() as group:
        group.start_soon(viewer.next)
        await anyio.wait_all_tasks_blocked()
        web.stop.set()
    await viewer.next()
