"""Makes pytest run the suite as SQLAlchemy does; that is why it cannot run with the other tests."""

import sqlalchemy.dialects.sqlite.provision  # noqa: F401 - how the suite prepares SQLite
from sqlalchemy.testing.plugin.pytestplugin import *  # noqa: F403 - hooks of pytest
