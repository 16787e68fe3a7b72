"""What the application does, and what follows from it."""

from pathlib import Path

import pytest
from aftercommit import Outbox
from models import Article, Order
from sqlalchemy.orm import Session

LAMP = {"article": "lamp", "email": "ivan@example.com"}


def test_an_order_is_stored_and_followed(
    client, session: Session, outbox_under_test: Outbox, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert client.post("/orders", json=LAMP).status_code == 201
    assert session.get_one(Article, "lamp").in_stock == 10

    assert outbox_under_test.deliver_sync(session) == 2
    assert session.get_one(Article, "lamp").in_stock == 9
    assert "ivan@example.com" in (tmp_path / "confirmations.txt").read_text()


@pytest.mark.parametrize("again", [1, 2])
def test_a_client_can_deliver_after_each_request(
    delivering_client, session: Session, tmp_path: Path, monkeypatch, again: int
) -> None:
    monkeypatch.chdir(tmp_path)

    delivering_client.post("/orders", json=LAMP)

    assert session.get_one(Article, "lamp").in_stock == 9
    assert session.query(Order).count() == 1  # also the second time: it was rolled back
