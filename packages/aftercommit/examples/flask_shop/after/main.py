"""The web application: orders are placed, and followed by stock and confirmation."""

from uuid import uuid4

from database import engine, session
from events import OrderPlaced, outbox
from flask import Flask, request
from models import Base, Order

app = Flask(__name__)


@app.post("/orders")
def place_order() -> tuple[str, int]:
    new = request.get_json()
    order = Order(id=uuid4(), article=new["article"], email=new["email"])
    session.add(order)
    placed = OrderPlaced(order.id, order.article, order.email)
    outbox.record_sync(session, placed, about=order.id)
    session.commit()
    return str(order.id), 201


@app.teardown_appcontext
def end_session(_: BaseException | None) -> None:
    session.remove()


@app.cli.command()
def create_tables() -> None:
    Base.metadata.create_all(engine)
