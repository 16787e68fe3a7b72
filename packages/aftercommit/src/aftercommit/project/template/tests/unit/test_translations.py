"""What other services publish, in their words, becomes a command in our words."""

import json
from uuid import uuid4

from aftercommit.extensions.brokers.subscriptions import Inbound

from shop.domain.messages import CancelOrder
from shop.entrypoints.broker_messages import payment_failed


def test_an_order_whose_payment_has_failed_is_cancelled() -> None:
    """The message contains more than we rely on; while the payment is retried, nothing happens."""
    order_id = uuid4()
    said = {"payment": "P-17", "order": str(order_id), "reason": "no money"}

    assert payment_failed(Inbound(body=json.dumps(said).encode())) == CancelOrder(order_id=order_id)
    retrying = json.dumps({**said, "retrying": True})
    assert payment_failed(Inbound(body=retrying.encode())) is None
