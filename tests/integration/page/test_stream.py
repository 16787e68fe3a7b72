"""What viewers are told: all that happens, wherever, and never more than is kept."""

from collections import Counter
from uuid import UUID

import anyio
import pytest
import sqlalchemy as sa

from allocation.adapters.operations import decisions
from allocation.bootstrap import Application
from allocation.domain.commands import RegisterUser
from allocation.domain.events import UserId
from allocation.entrypoints.page import reader as reading
from allocation.entrypoints.page import stream
from allocation.service_layer.envelopes import EventId
from tests.integration.page.conftest import LIMIT_SECONDS, Json, Viewer, reader_of, watching
from tests.integration.web.conftest import Web

pytestmark = pytest.mark.anyio


def only(viewer: Viewer) -> Json:
    [story] = viewer.stories.values()
    return story


def states(story: Json) -> dict[str, str]:
    """Return the state of each delivery."""
    return {n["name"]: n["state"] for n in story["nodes"] if n["kind"] == "delivery"}


async def work(application: Application) -> None:
    """Do all that is due."""
    names = list(application.bus.registry.events)
    while claimed := await application.outbox.claim(100, names):
        await application.bus.deliver(claimed)


async def register(application: Application, number: int) -> None:
    address = f"user{number}@example.com"
    user_id = UserId(UUID(int=number))
    await application.bus.execute(RegisterUser(user_id=user_id, name="Иван", email=address))


async def a_delivery(viewer: Viewer) -> tuple[EventId, str]:
    """Return the key of some delivery of the story that there is."""
    id_ = next(n["id"] for n in only(viewer)["nodes"] if n["kind"] == "delivery")
    event_id, _, handler = id_.partition(":")
    return EventId(UUID(event_id)), handler


async def test_a_story_grows_while_somebody_looks(web: Web, elsewhere: Application) -> None:
    """Whoever does it: here one process takes the order, and another one does the rest."""
    async with watching(web) as viewer:
        await web.register()
        await viewer.until(lambda _: viewer.stories)
        assert set(states(only(viewer)).values()) == {"waiting"}

        await work(elsewhere)

        await viewer.until(lambda _: set(states(only(viewer)).values()) == {"done"})
    nodes = only(viewer)["nodes"]
    assert Counter(n["kind"] for n in nodes) == {"command": 1, "event": 2, "delivery": 4}
    assert nodes[1]["about"] == "Иван <ivan@example.com>"
    done = [node for node in nodes if node["kind"] == "delivery"]
    assert {node["process"] for node in done} == {elsewhere.database.process}
    assert {node["token"] for node in done} == {2}


async def test_what_is_owed_is_told(web: Web) -> None:
    """How much of it, by handler and state; and the first of it."""
    async with watching(web) as viewer:
        await web.register()
        await viewer.until(lambda _: viewer.stories and viewer.owed["first"])

    assert {row["state"] for row in viewer.owed["counts"]} == {"due"}
    assert sum(row["count"] for row in viewer.owed["counts"]) == 4
    assert {row["handler"] for row in viewer.owed["first"]} == {*states(only(viewer))}
    assert {row["story"] for row in viewer.owed["first"]} == {*viewer.stories}


async def test_a_slow_viewer_is_sent_what_is_newest_once(
    web: Web, elsewhere: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no queue that could grow: what changed a hundred times meanwhile is sent as it is."""
    monkeypatch.setattr(reading, "BUSY_SECONDS", 0.0)
    async with watching(web) as slow, watching(web) as quick:
        await web.register()
        await slow.until(lambda _: slow.stories)
        await quick.until(lambda _: quick.stories)
        key, seen = await a_delivery(quick), 0
        for _ in range(20):
            before = only(quick)
            await decisions.retry(elsewhere.database, *key)
            reader_of(web).look_now()
            await quick.until(lambda _, before=before: only(quick) != before)
            seen += 1
        tokens = []
        while only(slow) != only(quick):
            news = await slow.next()
            tokens += [node["token"] for story in news["stories"] for node in story["nodes"][2:3]]
            assert len(tokens) <= 2  # the one that was under way, and the newest

    assert seen == 20


async def test_who_is_behind_is_told_for_how_long(
    web: Web, elsewhere: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And, as soon as he has caught up, that he has."""
    monkeypatch.setattr(stream, "BEHIND_SECONDS", 0.0)
    async with watching(web) as slow:
        await web.register()
        await slow.until(lambda _: slow.stories and slow.last_seen)
        await decisions.retry(elsewhere.database, *await a_delivery(slow))
        reader_of(web).look_now()

        told = await slow.until(lambda news: news["stories"])
        caught_up = await slow.next()

    assert told["behind"] > 0
    assert caught_up["behind"] == 0


async def test_who_comes_back_is_sent_only_what_he_missed(web: Web, elsewhere: Application) -> None:
    """By the number of what he saw last, which is that of one process."""
    async with watching(web) as before:
        await register(elsewhere, 1)
        await before.until(lambda _: before.stories and before.last_seen)
        await register(elsewhere, 2)
        await before.until(lambda _: len(before.stories) == 2)
    await register(elsewhere, 3)

    async with watching(web, before.last_seen) as again:
        await again.until(lambda _: again.stories)
        first = [*again.stories]
    async with watching(web, f"another-{before.last_seen}") as another:
        news = await another.next()
        await another.until(lambda _: len(another.stories) == 3)

    assert len(first) == 1
    assert first[0] not in before.stories
    assert news["full"]


async def test_only_the_newest_stories_are_kept(
    web: Web, elsewhere: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, and however long somebody looks."""
    monkeypatch.setattr(reading, "MAX_STORIES", 5)
    monkeypatch.setattr(reading, "READ_AT_ONCE", 2)
    for number in range(1, 5):
        await register(elsewhere, number)
    async with watching(web) as viewer:
        await viewer.until(lambda _: len(viewer.stories) == 4)
        for number in range(5, 9):
            await register(elsewhere, number)
        await viewer.until(lambda _: len(viewer.stories) == 8)
        kept = reader_of(web).stories

    assert len(kept) == 5
    newest = sorted(viewer.stories.values(), key=lambda story: -story["at"])[:5]
    assert {str(id_) for id_ in kept} == {story["id"] for story in newest}


async def test_nobody_is_asked_when_nobody_looks(web: Web, elsewhere: Application) -> None:
    """And three who look cost the database as much as one."""
    async with watching(web) as one, watching(web) as two, watching(web) as three:
        for viewer in (one, two, three):
            await viewer.next()
        reader = reader_of(web)
        assert reader.is_running
    with anyio.fail_after(LIMIT_SECONDS):
        while reader.is_running:
            await anyio.lowlevel.checkpoint()
    asked: list[str] = []
    engine = web.application.database.engine.sync_engine
    sa.event.listen(engine, "before_cursor_execute", lambda *args: asked.append(args[2]))

    await register(elsewhere, 1)
    assert asked == []
    async with watching(web) as viewer:
        await viewer.until(lambda _: viewer.stories)

    assert asked


async def test_a_database_in_trouble_is_told_and_then_forgotten(
    web: Web, elsewhere: Application
) -> None:
    """The server lives on; the page says why it stands still."""
    async with watching(web) as viewer:
        await web.register()
        await viewer.until(lambda _: viewer.stories)
        await rename(elsewhere, "commands", "commandments")
        told = await viewer.until(lambda news: news.get("trouble"))
        await rename(elsewhere, "commandments", "commands")
        await viewer.until(lambda news: "trouble" in news and news["trouble"] is None)
        await web.register(email="maria@example.com")
        await viewer.until(lambda _: len(viewer.stories) == 2)

    assert "commands" not in told["trouble"]


async def rename(application: Application, old: str, new: str) -> None:
    async with application.database.writing() as session:
        await session.execute(sa.text(f"ALTER TABLE {old} RENAME TO {new}"))
        await session.commit()


async def test_streams_end_when_the_process_stops(web: Web) -> None:
    """At once, and in good order; who asks then gets an answer that is over."""
    async with watching(web) as viewer:
        await viewer.next()
        web.stop.set()
        assert not (await viewer.rest())["more_body"]
    async with watching(web) as late:
        assert not (await late.rest())["more_body"]
