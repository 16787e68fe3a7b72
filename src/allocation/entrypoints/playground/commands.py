"""The command of the playground."""

import secrets
import webbrowser
from contextlib import suppress
from dataclasses import replace

import click
from anyio import to_thread
from fastapi import Depends

from allocation.bootstrap import Application
from allocation.config import Settings
from allocation.entrypoints import running
from allocation.entrypoints.cli.application import Options, set_up
from allocation.entrypoints.output import say
from allocation.entrypoints.playground import playground as grounds
from allocation.entrypoints.playground.http import panel, router
from allocation.entrypoints.playground.keeper import Kept, keeping
from allocation.entrypoints.running import Service, StopSignal
from allocation.entrypoints.web.access import operator
from allocation.entrypoints.web.application import web_application
from allocation.entrypoints.web.server import serving
from allocation.entrypoints.web.settings import WebSettings


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="0: any that is free. Default: 8000")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@click.pass_obj
def playground(options: Options, port: int | None, no_browser: bool) -> None:
    """Break it yourself: a page with real processes, a real mail server, and real faults.

    There is nothing to set up. Ctrl-C ends everything, and leaves nothing behind.
    """
    with keeping() as kept:
        own = {
            "database_url": f"sqlite:///{kept.folder / grounds.DATABASE}",
            "mail_url": f"maildir:{kept.folder / 'mail'}",  # nothing is delivered here
            "http_port": port,
            "operator_token": secrets.token_urlsafe(24),
            "process_name": "page",
        }
        settings = set_up({**options, **grounds.SETTINGS, **own}, log_level="warning")
        settings = replace(settings, of_rooms=(settings.of(WebSettings),))  # no broker
        running.serve(settings, playing(settings, kept, browser=not no_browser), delivers=False)


def playing(settings: Settings, kept: Kept, *, browser: bool) -> Service:
    """Return the service: the page, with a panel, and all that can be broken from there."""
    token = str(settings.of(WebSettings).operator_token)
    app = web_application(settings.of(WebSettings))
    app.include_router(router, dependencies=[Depends(operator)])
    app.state.panels = ["/playground/panel.js"]

    async def play(application: Application, stop: StopSignal) -> None:
        async with (
            grounds.playground(application, kept, settings, token) as ground,
            panel(ground) as app.state.panel,
        ):
            app.state.panel.start(ground.fill_up_coupons, "WELCOME")

            def tell(url: str, _: str | None) -> None:
                address = f"{url}/?token={token}"
                say(f"[Playground]     {address}")
                if browser:
                    app.state.panel.start(to_thread.run_sync, open_in_browser, address)

            await serving(settings, app, tell=tell)(application, stop)

    return play


def open_in_browser(url: str) -> None:
    """Open a page in the browser, if there is one that does not need this terminal."""
    with suppress(webbrowser.Error):
        if type(found := webbrowser.get()) is not webbrowser.GenericBrowser:
            found.open(url)
