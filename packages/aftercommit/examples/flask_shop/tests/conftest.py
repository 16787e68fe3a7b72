"""Fixtures: each test has a session that is rolled back, and no worker beside it."""

import main
import pytest
from aftercommit import Outbox
from events import outbox
from flask.testing import FlaskClient
from models import Article, Base
from sqlalchemy import Engine
from sqlalchemy.orm import Session

pytest_plugins = ["aftercommit.outbox.fixtures"]


@pytest.fixture
def outbox_under_test() -> Outbox:
    return outbox


@pytest.fixture
def outbox_engine() -> Engine:
    Base.metadata.create_all(main.engine)
    return main.engine


@pytest.fixture
def session(outbox_session: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    outbox_session.add(Article(name="lamp", in_stock=10))
    outbox_session.commit()
    monkeypatch.setattr(main, "session", outbox_session)  # the application has one in a request
    monkeypatch.setattr(outbox_session, "remove", lambda: None, raising=False)
    return outbox_session


@pytest.fixture
def client(session: Session) -> FlaskClient:
    return main.app.test_client()


@pytest.fixture
def delivering_client(session: Session, client: FlaskClient, monkeypatch: pytest.MonkeyPatch):
    """A client that runs what follows after each request."""

    class DeliveringClient(FlaskClient):
        def open(self, *args, **options):
            response = super().open(*args, **options)
            outbox.deliver_sync(session)
            return response

    monkeypatch.setattr(main.app, "test_client_class", DeliveringClient)
    return main.app.test_client()
