"""The engine, and what makes sessions on it."""

import os

from sqlalchemy import create_engine
from sqlalchemy.orm import scoped_session, sessionmaker

URL = os.environ.get("SHOP_DATABASE", "sqlite:///shop.db")

engine = create_engine(URL)
new_session = sessionmaker(engine)
session = scoped_session(new_session)  # that of the request
