"""The endpoints. `public` is for everybody, `guarded` for requests with the operator's token."""

from typing import Annotated
from uuid import UUID

from aftercommit.extensions.web.endpoints import OF_BODIES, Execution, Running, errors
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from shop import views
from shop.domain.messages import CancelOrder, PlaceOrder
from shop.domain.orders import OrderIdTaken, OrderNotFound, TooManyPieces
from shop.domain.values import EmailAddress

public = APIRouter()
guarded = APIRouter()

MAX_NUMBER = 10**6  # JSON has numbers of any length
Pieces = Annotated[int, Field(ge=1, le=MAX_NUMBER, strict=True)]  # no true, and no "2"


class NewOrder(BaseModel):
    """The order to place. Without `order_id`, the server makes an id."""

    model_config = ConfigDict(extra="forbid")
    order_id: UUID | None = None
    email: Annotated[str, Field(max_length=EmailAddress.longest, examples=["ivan@example.com"])]
    articles: Annotated[dict[str, Pieces], Field(min_length=1, examples=[{"lamp": 2}])]


class PlacedOrder(BaseModel):
    """The placed order."""

    order_id: UUID


class OrderResponse(BaseModel):
    """An order as it is now."""

    model_config = ConfigDict(from_attributes=True)
    order_id: UUID
    email: str
    is_cancelled: bool
    pieces: int


@public.post("/orders", status_code=201, responses=errors(TooManyPieces, OrderIdTaken) | OF_BODIES)
async def place_order(new: NewOrder, execution: Execution, response: Response) -> PlacedOrder:
    """Order some articles; the confirmation follows. `Location` is the address of the order."""
    order_id = new.order_id or execution.new_id()
    command = PlaceOrder(order_id=order_id, email=new.email, articles=new.articles)
    await execution.execute(command)
    response.headers["Location"] = f"/orders/{order_id}"
    return PlacedOrder(order_id=order_id)


@guarded.get("/orders/{order_id}", responses=errors(OrderNotFound))
async def get_order(order_id: UUID, running: Running) -> OrderResponse:
    """Show an order."""
    return OrderResponse.model_validate(await views.order(running.database, order_id))


@guarded.delete("/orders/{order_id}", status_code=204, responses=errors(OrderNotFound))
async def cancel_order(order_id: UUID, execution: Execution) -> None:
    """Cancel an order."""
    await execution.execute(CancelOrder(order_id=order_id))
