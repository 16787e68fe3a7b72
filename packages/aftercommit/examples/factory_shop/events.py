"""The events of the shop and their handlers, for an application that a function makes."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache

from aftercommit import IdempotencyKey, Outbox, on
from app import Order, db
from flask import Flask, current_app
from sqlalchemy.orm import Session


@dataclass(frozen=True)
class OrderPlaced:
    order_id: int


def keep(event: OrderPlaced, session: Session) -> None:
    session.get_one(Order, event.order_id).is_kept = True


def confirm(event: OrderPlaced, idempotency_key: IdempotencyKey) -> None:
    with open("confirmations.txt", "a") as file:  # for a mail server
        file.write(f"{event.order_id} {current_app.name} {idempotency_key}\n")


@cache
def the_app() -> Flask:
    from app import create_app  # here, so that either module can be imported first

    return create_app()


def app_context() -> AbstractContextManager[object]:
    app = current_app or the_app()  # a test has an application of its own, and so has a request
    return app.app_context()


outbox = Outbox("shop", lambda: db.engine, [on(OrderPlaced, keep, confirm)], context=app_context)
