"""The port to the payment service, and its client: what the rest knows of HTTP is here."""

import json
from http.client import HTTPConnection
from typing import Protocol
from uuid import UUID

from aftercommit import Refused, Unavailable
from anyio import to_thread


class CardRefused(Refused):
    """The bank will never accept this payment."""


class Payments(Protocol):
    """Takes payments. The order is the key: however often it is asked, there is one payment."""

    async def charge(self, order_id: UUID, card: str, amount: int) -> None:
        """Return when the card is charged.

        :raises CardRefused: if it will not be
        :raises Unavailable: if nobody knows whether it is
        """

    async def undo(self, order_id: UUID) -> None:
        """Return when nothing is taken for this order, neither before nor after this call."""


class PaymentClient:
    """The payments of the service at this address."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self._address, self._timeout = (host, port), timeout

    async def charge(self, order_id: UUID, card: str, amount: int) -> None:
        """Charge a card."""
        await self._put(f"/payments/{order_id}", {"card": card, "amount": amount})

    async def undo(self, order_id: UUID) -> None:
        """Undo a payment, or forbid it."""
        await self._put(f"/payments/{order_id}/undone", {})

    async def _put(self, path: str, content: object) -> None:
        status = await to_thread.run_sync(self._request, path, content, abandon_on_cancel=True)
        if status == 402:  # Payment Required
            raise CardRefused("the payment service has refused the card")
        if status != 200:
            raise Unavailable(f"the payment service has answered {status}")

    def _request(self, path: str, content: object) -> int:
        connection = HTTPConnection(*self._address, timeout=self._timeout)
        try:
            connection.request("PUT", path, json.dumps(content))
            response = connection.getresponse()
            response.read()
            return response.status
        except OSError as error:
            raise Unavailable("the payment service") from error
        finally:
            connection.close()
