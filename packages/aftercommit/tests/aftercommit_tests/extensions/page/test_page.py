"""What the page is made of: one file for all applications, its assets, and the map of handlers."""

from pathlib import Path

import pytest

from aftercommit_tests.extensions.web.running import Web
from aftercommit_tests.things import handlers

pytestmark = pytest.mark.anyio

HANDLERS = Path(handlers.__file__).read_text("utf-8").splitlines()


async def test_the_page_has_the_name_of_the_application_and_takes_its_scripts(web: Web) -> None:
    """As modules of this server, whose addresses are only addresses."""
    assert "<!-- panels -->" not in (await web.client.get("/")).text
    web.app.state.panels.append('/panel.js?a="&b')

    page = (await web.client.get("/")).text

    assert "<title>things</title>" in page
    assert "THINGS_OPERATOR_TOKEN" in page
    assert "<title>things</title>" in (await web.client.get("/docs")).text
    assert '<script type="module" src="/panel.js?a=&quot;&amp;b"></script>' in page
    assert '<aside id="panel" hidden>' in page


async def test_the_map_is_the_wiring_of_the_running_program(web: Web) -> None:
    """With the words and the place of each handler in the source."""
    wiring = (await web.get("/page/handler-map")).json()

    assert wiring["commands"]["make_thing"] == ["make_thing"]
    assert "announce" in wiring["events"]["thing_made"]
    announce = wiring["handlers"]["announce"]
    assert (announce["uow"], announce["outside"]) == (False, ["bell"])
    assert announce["about"] == (handlers.announce.__doc__ or "")
    file, _, line = announce["place"].partition(":")
    assert file == "aftercommit_tests/things/handlers.py"
    assert announce["source"].splitlines()[0] == HANDLERS[int(line) - 1] == "async def announce("
    assert wiring["handlers"].keys() >= {"make_thing", *web.application.bus.registry.events}
