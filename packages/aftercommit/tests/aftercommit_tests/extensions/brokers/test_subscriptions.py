"""What other services publish becomes a command: how a message is read, and what it is known by."""

import asyncio
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, cast
from uuid import UUID

import msgspec
import pytest
from aftercommit import MessageOrigin, testing
from aftercommit.errors import InvalidPayload, InvalidValue, MessageAlreadyHandled, WiringError
from aftercommit.extensions.brokers import BrokersExtension
from aftercommit.extensions.brokers.asyncapi import published_language

from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.inside.brokers import Inbound, ReceivedMessage, Subscription
from aftercommit_tests.inside.errors import (
    DatabaseUnavailable,
    MessageTooLarge,
    UntranslatableMessage,
)
from aftercommit_tests.things.app import APP
from aftercommit_tests.things.broker_messages import LAMP, SUBSCRIPTIONS, Item, item_listed
from aftercommit_tests.things.domain import MakeThing, ThingId

pytestmark = pytest.mark.anyio

(CATALOGUE,) = SUBSCRIPTIONS
BODY = msgspec.json.encode({"sku": LAMP, "title": "lamp", "price": "9.90"})
MAKE_LAMP = MakeThing(thing_id=ThingId(LAMP), name="lamp")
SPAN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def received(body: bytes = BODY, **properties: Any) -> ReceivedMessage:
    """Return a message as it comes from a broker, with an id unless it says another."""
    headers = properties.pop("headers", {})
    key, place = properties.pop("key", None), properties.pop("place", None)
    properties = {"message_id": "m1", **properties}
    return ReceivedMessage(body=body, headers=headers, properties=properties, key=key, place=place)


def test_fields_that_are_unknown_are_ignored_and_those_that_are_missing_refused() -> None:
    """Others may say more tomorrow; what we rely on has to be there."""
    command, origin = CATALOGUE.read(received()) or (None, None)

    assert command == MAKE_LAMP
    assert origin == MessageOrigin(source="from.catalogue", id="m1")
    with pytest.raises(InvalidPayload, match="missing required field `title`"):
        CATALOGUE.read(received(msgspec.json.encode({"sku": LAMP})))


def test_a_message_that_is_none_of_our_business_is_nothing() -> None:
    """A topic has all that another team has to say; it needs no id, either."""
    other = msgspec.json.encode({"sku": LAMP, "title": "gift card", "kind": "voucher"})

    assert CATALOGUE.read(received(other, message_id=None)) is None


CLOUD_EVENT = "application/cloudevents+json"
TRACE = UUID("0b6f2c0e-5d43-4f6e-9a57-2f1d3c4b5a69")
STRUCTURED = {
    "specversion": "1.0",
    "id": "c1",
    "source": "/catalogue",
    "type": "item.listed",
    "subject": "7",
    "traceparent": SPAN,
    "correlationid": str(TRACE),
    "data": msgspec.Raw(BODY),
}


@pytest.mark.parametrize(
    "message",
    [
        received(
            msgspec.json.encode(STRUCTURED), content_type="application/cloudevents+json; charset=x"
        ),
        received(
            msgspec.json.encode(STRUCTURED),
            headers={"content-type": b"application/cloudevents+json"},
        ),
        *(
            received(
                headers={
                    f"{prefix}id": b"c1",
                    f"{prefix}source": "/catalogue",
                    f"{prefix}type": "item.listed",
                    f"{prefix}subject": "7",
                    f"{prefix}traceparent": SPAN,
                    f"{prefix}correlationid": str(TRACE),
                }
            )
            for prefix in ("ce_", "ce-", "cloudEvents:", "cloudEvents_")
        ),
    ],
)
def test_a_cloud_event_in_each_mode_says_the_same(message: ReceivedMessage) -> None:
    """A translation need not know in which mode another team publishes today."""
    seen: list[Inbound] = []

    def translate(inbound: Inbound) -> MakeThing | None:
        seen.append(inbound)
        return item_listed(inbound)

    command, origin = replace(CATALOGUE, translate=translate).read(message) or (None, None)

    assert command == MAKE_LAMP
    assert origin == MessageOrigin(source="from.catalogue", id="/catalogue c1")
    assert (origin.traceparent, origin.correlation_id) == (SPAN, TRACE)
    (inbound,) = seen
    found = inbound.id, inbound.source, inbound.type, inbound.subject
    assert found == ("c1", "/catalogue", "item.listed", "7")


@pytest.mark.parametrize("said", ["order 7", 7, None])
def test_what_another_service_calls_a_correlation_may_be_no_trace_of_ours(said: object) -> None:
    """It is their word, and no reason to refuse the message: a trace begins here then."""
    body = msgspec.json.encode({**STRUCTURED, "correlationid": said})

    _, origin = cast("Any", CATALOGUE.read(received(body, content_type=CLOUD_EVENT)))

    assert origin.correlation_id is None


def test_the_span_of_another_service_is_read_from_its_header() -> None:
    """So a trace goes on through ours; what is not well formed is ignored."""
    _, origin = cast("Any", CATALOGUE.read(received(headers={"Traceparent": SPAN})))
    _, without = cast("Any", CATALOGUE.read(received(headers={"traceparent": "00-0-0-00"})))

    assert (origin.traceparent, without.traceparent) == (SPAN, None)


def test_a_message_is_known_by_its_id_or_by_its_place_or_by_what_is_derived() -> None:
    """Without any of them, a repetition could not be told from a second order of the same."""
    by_title = replace(CATALOGUE, message_id=lambda message: message.data(Item).title)
    without = received(message_id=None)

    assert origin_of(CATALOGUE, received(place="catalogue-0-7")).id == "m1"
    assert origin_of(CATALOGUE, replace(without, place="catalogue-0-7")).id == "catalogue-0-7"
    assert origin_of(by_title, without).id == "lamp"
    with pytest.raises(InvalidPayload, match="it has no id .* message_id="):
        CATALOGUE.read(without)
    with pytest.raises(InvalidPayload, match="its id contains an invisible character"):
        CATALOGUE.read(received(message_id="a\x00b"))


def test_another_translation_does_not_make_another_message_of_it() -> None:
    """A repetition after a release is one: its fingerprint is that of the bytes that came."""
    changed = replace(CATALOGUE, translate=lambda _: MakeThing(thing_id=ThingId(LAMP), name="x"))

    assert (
        origin_of(changed, received()).fingerprint == origin_of(CATALOGUE, received()).fingerprint
    )
    other = received(BODY + b" ")
    assert origin_of(CATALOGUE, other).fingerprint != origin_of(CATALOGUE, received()).fingerprint


def test_a_message_is_too_long_only_if_it_concerns_us() -> None:
    """What others publish for others is none of our business, however long it is."""
    long = msgspec.json.encode({"sku": LAMP, "title": "lamp", "text": "x" * 65_537})

    with pytest.raises(MessageTooLarge):
        CATALOGUE.read(received(long))
    assert CATALOGUE.read(received(long.replace(b'"text"', b'"kind"'))) is None


def test_events_of_two_sources_may_have_one_id() -> None:
    """CloudEvents promises that source and id are unique together, and producers may count."""
    ids = {
        origin_of(
            CATALOGUE,
            received(msgspec.json.encode(STRUCTURED | {"source": each}), content_type=CLOUD_EVENT),
        ).id
        for each in ("/catalogue", "/warehouse")
    }

    assert len(ids) == 2


def test_a_header_without_a_value_is_none() -> None:
    """AMQP and Kafka have such headers; as a text, all of them would be one id."""
    message = received(headers={"ce_id": None, "ce_source": "/catalogue"}, message_id="m7")

    assert origin_of(CATALOGUE, message).id == "/catalogue m7"


def test_a_renamed_subscription_goes_on_where_it_was() -> None:
    """Its queue, its group and its ids are those of the name that it had first."""
    renamed = replace(CATALOGUE, name="items", renamed="catalogue")

    assert renamed.inlet("things") == CATALOGUE.inlet("things")
    assert origin_of(renamed, received()) == origin_of(CATALOGUE, received())


async def waits(message: Inbound) -> None: ...


def says_nothing(message):  # type: ignore[no-untyped-def]
    return None


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (lambda: replace(CATALOGUE, name="Cata.logue"), "lower-case letters"),
        (lambda: replace(CATALOGUE, exchange=None, topic=None), "give an exchange or a topic"),
        (lambda: replace(CATALOGUE, routing_keys="item.*"), "a list of at least one"),
        (lambda: replace(CATALOGUE, start=cast("Any", "now")), "earliest or latest"),
        (lambda: replace(CATALOGUE, translate=waits), "a plain function"),
        (lambda: replace(CATALOGUE, translate=says_nothing).commands(), "which commands"),
        (lambda: extension_of(CATALOGUE, CATALOGUE).subscriptions, "the same name"),
        (
            lambda: (
                extension_of(
                    CATALOGUE, replace(CATALOGUE, name="x", renamed="catalogue")
                ).subscriptions
            ),
            "the same name",
        ),
    ],
)
def test_what_cannot_work_is_refused_at_start(made: Any, problem: str) -> None:
    """And not with the first message."""
    with pytest.raises(WiringError, match=problem):
        made()


def extension_of(*rows: Subscription) -> BrokersExtension:
    """Return an extension with these subscriptions."""
    module: Any = ModuleType("messages_of_a_test")
    module.SUBSCRIPTIONS = rows
    sys.modules[module.__name__] = module
    return BrokersExtension(module.__name__)


def origin_of(subscription: Subscription, message: ReceivedMessage) -> Any:
    """Return by what a message is known."""
    found = subscription.read(message)
    assert found
    return found[1]


def test_a_translation_that_fails_makes_a_dead_letter() -> None:
    """Whatever it raises: the message would say the same when it came again."""

    def strange(message: Inbound) -> MakeThing | None:
        return MakeThing(**message.data(dict[str, Any])["thing"])

    with pytest.raises(
        UntranslatableMessage, match="catalogue cannot translate .* KeyError: 'thing'"
    ):
        replace(CATALOGUE, translate=strange).read(received())
    with pytest.raises(UntranslatableMessage, match="ZeroDivisionError"):
        replace(CATALOGUE, message_id=lambda message: str(1 / 0)).read(received())
    assert origin_of(replace(CATALOGUE, message_id=lambda _: 17), received()).id == "17"
    assert origin_of(replace(CATALOGUE, message_id=lambda _: 0), received()).id == "0"


class TakenError(Exception):
    """An error of a domain that has a kind; here, nothing heals it."""

    error_kind = "conflict"


ENDINGS: list[tuple[BaseException, type[Exception], str]] = [
    (DatabaseUnavailable("soon"), DatabaseUnavailable, "soon"),
    (InvalidValue("sku", "is unknown"), InvalidValue, "sku is unknown"),
    (TakenError("twice"), UntranslatableMessage, "TakenError: twice"),
    (SystemExit(3), UntranslatableMessage, "raised SystemExit"),
    (KeyboardInterrupt(), UntranslatableMessage, "raised KeyboardInterrupt"),
    (asyncio.CancelledError(), UntranslatableMessage, "raised CancelledError"),
    (GeneratorExit(), UntranslatableMessage, "GeneratorExit"),
    (BaseExceptionGroup("two", [SystemExit(3)]), UntranslatableMessage, "raised SystemExit"),
]


@pytest.mark.parametrize(("raised", "told", "reason"), ENDINGS, ids=lambda each: repr(each)[:40])
async def test_what_a_translation_raises_is_a_dead_letter_unless_it_is_unavailable(
    raised: BaseException, told: type[Exception], reason: str
) -> None:
    """One message must not end the process, with all other subscriptions in it, again and again."""

    def strange(message: Inbound) -> MakeThing | None:
        raise raised

    with pytest.raises(told, match=reason):
        replace(CATALOGUE, translate=strange).read(received())


async def test_an_id_whose_text_raises_is_a_dead_letter_like_any_error_of_a_translation() -> None:
    """The text of an id is code of the application, too."""

    class StrangeId(int):
        def __str__(self) -> str:
            raise SystemExit(3)

    with pytest.raises(UntranslatableMessage, match="raised SystemExit"):
        replace(CATALOGUE, message_id=lambda _: StrangeId(7)).read(received())


async def test_a_recorded_message_runs_without_a_broker(new_world: NewWorld) -> None:
    """Through translation, command and handlers, as one that has come in."""
    world = await new_world()
    application = replace(world.application, subscriptions=lambda: SUBSCRIPTIONS)

    report = await testing.inbound(application, "catalogue", BODY)
    other = msgspec.json.encode({"sku": LAMP, "title": "gift card", "kind": "voucher"})

    assert report
    assert [envelope.type for envelope in report.events][:1] == ["thing_made"]
    assert world.bell.texts == ["lamp"]
    assert await testing.inbound(application, "catalogue", other) is None
    with pytest.raises(InvalidPayload):
        await testing.inbound(application, "catalogue", b"{bad")
    with pytest.raises(WiringError, match="no subscription of this name: katalog"):
        await testing.inbound(application, "katalog", BODY)
    await testing.inbound(application, "catalogue", BODY, message_id="m1")
    with pytest.raises(MessageAlreadyHandled):
        await testing.inbound(application, "catalogue", BODY, message_id="m1")


def test_what_we_rely_on_is_a_file_that_a_change_of_ours_breaks(tmp_path: Path) -> None:
    """It is seen in a review; and the other team can run its messages against it."""
    import jsonschema  # takes a second

    @dataclass
    class MoreOfItem(Item):
        price: str = "0"

    file = tmp_path / "contracts" / "catalogue.json"
    with pytest.raises(AssertionError, match="look at it, and commit it"):
        testing.check_contract(file, CATALOGUE, BODY)

    testing.check_contract(file, CATALOGUE, BODY)
    contract = json.loads(file.read_bytes())
    jsonschema.validate(json.loads(BODY), contract)
    with pytest.raises(jsonschema.ValidationError, match="title"):
        jsonschema.validate({"sku": str(LAMP)}, contract)
    with pytest.raises(AssertionError, match="tell the other team(.|\n)*price"):
        testing.check_contract(file, replace(CATALOGUE, relies_on=MoreOfItem), BODY)
    with pytest.raises(InvalidPayload):
        testing.check_contract(file, CATALOGUE, b"{}")
    with pytest.raises(WiringError, match="relies_on"):
        testing.check_contract(file, replace(CATALOGUE, relies_on=None), BODY)


def test_the_published_language_has_both_directions() -> None:
    """What we rely on stands beside what others can rely on."""
    document = json.loads(published_language(APP))

    assert document["channels"]["from.catalogue"]["address"] == "catalogue.events"
    assert document["operations"]["from.catalogue"]["action"] == "receive"
    payload = document["components"]["messages"]["from.catalogue"]["payload"]
    assert payload == {"$ref": "#/components/schemas/Item"}
    assert document["components"]["schemas"]["Item"]["required"] == ["sku", "title"]
