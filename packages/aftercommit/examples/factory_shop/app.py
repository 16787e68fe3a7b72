"""The web application, made by a function; Flask-SQLAlchemy has its engine and its sessions."""

import os

from flask import Flask, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase): ...


db = SQLAlchemy(model_class=Base)


class Order(db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    is_kept: Mapped[bool] = mapped_column(default=False)


def create_app(url: str = "") -> Flask:
    from events import OrderPlaced, outbox

    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = url or os.environ["SHOP_DATABASE"]
    db.init_app(app)

    @app.post("/orders")
    def place_order() -> tuple[str, int]:
        order = Order(id=request.get_json()["id"])
        db.session.add(order)
        outbox.record_sync(db.session, OrderPlaced(order.id), about=order.id)
        db.session.commit()
        return str(order.id), 201

    return app
