"""The web application: orders are placed, and followed by stock and confirmation."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

from database import engine, new_session, session
from effects import send_confirmation, take_from_stock
from flask import Flask, request
from models import Base, Order

app = Flask(__name__)
background = ThreadPoolExecutor()


@app.post("/orders")
def place_order() -> tuple[str, int]:
    new = request.get_json()
    order = Order(id=uuid4(), article=new["article"], email=new["email"])
    session.add(order)
    session.commit()
    background.submit(follow_up, order.id, order.article, order.email)
    return str(order.id), 201


def follow_up(order_id: UUID, article: str, email: str) -> None:
    with new_session.begin() as session:
        take_from_stock(session, article)
    send_confirmation(order_id, email)


@app.teardown_appcontext
def end_session(_: BaseException | None) -> None:
    session.remove()


@app.cli.command()
def create_tables() -> None:
    Base.metadata.create_all(engine)
