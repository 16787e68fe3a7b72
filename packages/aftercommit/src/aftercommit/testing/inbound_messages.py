"""Tests with other services' messages, without a broker, and the contract of what we rely on."""

import json
from collections.abc import Mapping
from difflib import unified_diff
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from aftercommit.claims import Report
from aftercommit.errors import WiringError
from aftercommit.process.application import Application

if TYPE_CHECKING:
    from aftercommit.extensions.brokers.subscriptions import Subscription

_offsets = count()


async def inbound(
    application: Application,
    subscription: str,
    body: bytes,
    *,
    headers: Mapping[str, str] | None = None,
    key: str | None = None,
    content_type: str | None = None,
    message_id: str | None = None,
) -> Report | None:
    """Receive a recorded message: translate it, execute its command, and dispatch its events.

    It is read like a broker's message: `key` is its routing key, or its key on Kafka, `message_id`
    that of AMQP. Returns the report of `MessageBus.handle`, or None if the translation returns
    None.

    :raises InvalidMessage: if it would become a dead letter; other errors are those of its command
    :raises MessageAlreadyHandled: if a message with its id was handled before
    :raises WiringError: if there is no subscription of this name

    >>> import anyio
    >>> from aftercommit import testing
    >>> from shop.entrypoints.app import APP
    >>> async def main():
    ...     async with APP.open(APP.load({})) as application:
    ...         return await testing.inbound(application, "payments", b"{}")
    >>> anyio.run(main)
    Traceback (most recent call last):
    aftercommit.errors.WiringError: there is no subscription of this name: payments
    """
    from aftercommit.extensions.brokers.base import ReceivedMessage

    found: Any = [each for each in application.subscriptions() if each.name == subscription]
    if not found:
        raise WiringError("there is no subscription of this name", subscription)
    properties = {"content_type": content_type, "message_id": message_id}
    received = ReceivedMessage(
        body=body,
        headers=dict(headers or {}),
        properties=properties,
        key=key,
        place=f"{found[0].topic}-0-{next(_offsets)}" if found[0].topic else None,
    )
    if (read := found[0].read(received)) is None:
        return None
    return await application.bus.handle(*read)


def check_contract(
    file: Path, subscription: "Subscription", example: bytes, **attributes: Any
) -> None:
    """Compare what we rely on in another service's messages with a contract file.

    The file contains the JSON Schema of the fields that the subscription `relies_on`, with an
    example. It is written if missing. The other team can check its own messages against it, and our
    reviews show when it changes. The example is the body of a message, or the data of a CloudEvent;
    `attributes` are other things that the translation reads, such as `type` or `key`.

    :raises AssertionError: if the file has other contents, or was missing
    :raises InvalidMessage: if the translation cannot read the example
    """
    from aftercommit.extensions.brokers.subscriptions import Inbound

    subscription.translate(Inbound(body=example, **attributes))
    written = file.read_text() if file.exists() else ""
    said = contract_of(subscription, example)
    if not written:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(said)
        raise AssertionError(f"{file} was missing and has been written: look at it, and commit it")
    if written != said:
        lines = unified_diff(written.splitlines(), said.splitlines(), str(file), "now", "", "", 1)
        problem = "If that is intended, delete the file, run this again, and tell the other team"
        raise AssertionError("\n".join([f"what we rely on has changed. {problem}:", *lines]))


def contract_of(subscription: "Subscription", example: bytes) -> str:
    """Return the contract: where messages come from, and the JSON Schema of what we read of them.

    :raises WiringError: if the subscription does not give `relies_on`
    """
    if subscription.relies_on is None:
        raise WiringError("give relies_on=…, the class of the fields, to", subscription.name)
    contract = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"What the subscription {subscription.name} relies on",
        "description": f"Of messages that come from: {subscription.origin}",
        **msgspec.json.schema(subscription.relies_on),
        "examples": [json.loads(example)],
    }
    return json.dumps(contract, indent=2, ensure_ascii=False) + "\n"
