"""An HTTP application without its server, and its server without a process."""

from aftercommit.extensions.bounded_dispatch import BoundedDispatch as BoundedDispatch
from aftercommit.extensions.page import queries as queries
from aftercommit.extensions.page.routes import data as data
from aftercommit.extensions.page.routes import router as router
from aftercommit.extensions.web import browser_sessions as browser_sessions
from aftercommit.extensions.web.application import web_application as web_application
from aftercommit.extensions.web.dispatch_after_response import (
    DispatchAfterResponse as DispatchAfterResponse,
)
from aftercommit.extensions.web.problems import status_of as status_of
from aftercommit.extensions.web.server import TICK_SECONDS as TICK_SECONDS
from aftercommit.extensions.web.server import open_listener as open_listener
from aftercommit.extensions.web.server import web_service as web_service
