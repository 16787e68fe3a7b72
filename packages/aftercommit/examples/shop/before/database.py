"""The engine, and what makes sessions on it."""

import os

from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

URL = os.environ.get("SHOP_DATABASE", "sqlite+aiosqlite:///shop.db")

engine = create_async_engine(URL)
new_session = async_sessionmaker(engine, expire_on_commit=False)
