"""The engine, and what makes sessions on it."""

import os

from aftercommit.sqlite import prepare
from sqlalchemy import create_engine
from sqlalchemy.orm import scoped_session, sessionmaker

URL = os.environ.get("SHOP_DATABASE", "sqlite:///shop.db")

engine = create_engine(URL)
prepare(engine)
new_session = sessionmaker(engine)
session = scoped_session(new_session)  # that of the request
