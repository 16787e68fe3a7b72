"""The command of the playground."""

import secrets
import webbrowser
from contextlib import suppress
from dataclasses import replace

import click
from aftercommit import Application, CommandLine
from aftercommit.extensions.smtp.settings import SmtpSettings
from aftercommit.extensions.web.application import web_application
from aftercommit.extensions.web.authentication import operator
from aftercommit.extensions.web.server import web_service
from aftercommit.extensions.web.settings import WebSettings
from aftercommit.process.running_services import Service, Shutdown
from anyio import to_thread
from fastapi import Depends, FastAPI

from allocation.config import Settings
from allocation.entrypoints.app import APP
from playground import playground as grounds
from playground.reaper import Sandbox, reaper
from playground.routes import panel, router


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), help="The port; 0 is any free one. Default: 8000"
)
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@click.pass_obj
def playground(cli: CommandLine[Settings], port: int | None, no_browser: bool) -> None:
    """Break it yourself: a page with real processes, a real mail server, and real faults.

    There is nothing to set up. Ctrl-C ends everything and removes its files.
    """
    with reaper() as sandbox:
        own = {
            "database_url": f"sqlite:///{sandbox.folder / grounds.DATABASE}",
            "mail_url": f"maildir:{sandbox.folder / 'mail'}",  # nothing is delivered here
            "http_port": port,
            "operator_token": secrets.token_urlsafe(24),
            "instance_name": "page",
        }
        settings = cli.load_settings(log_level="warning", **grounds.SETTINGS, **own)
        wanted = (settings.of(WebSettings), settings.of(SmtpSettings))  # no broker
        settings = replace(settings, of_extensions=wanted)
        play = playing(settings, sandbox, browser=not no_browser)
        cli.run_services(settings, play, delivers=False)


def playing(settings: Settings, sandbox: Sandbox, *, browser: bool) -> Service:
    """Return the service: the page with a panel, and everything that can be broken from there."""
    token = (settings.of(WebSettings).operator_token or "")[:]  # it is shown where it was started
    app = web_application(APP, settings.of(WebSettings))
    app.include_router(router, dependencies=[Depends(operator)])
    new_code = app.state.sessions.new_code
    app.state.panels.append("/playground/panel.js")

    async def play(application: Application, stop: Shutdown) -> None:
        async with (
            grounds.playground(application, sandbox, settings, token) as ground,
            panel(ground) as app.state.panel,
        ):
            app.state.panel.start(ground.fill_up_coupons, "WELCOME")

            def announce(_app: FastAPI, url: str, _: str | None) -> None:
                click.echo(f"[Playground]     {url}/#code={new_code()}; the token: {token}")
                if browser:  # all users of the machine can read its arguments
                    address = f"{url}/#code={new_code()}"
                    app.state.panel.start(to_thread.run_sync, open_in_browser, address)

            await web_service(settings, app, announce=announce)(application, stop)

    return play


def open_in_browser(url: str) -> None:
    """Open a page in the browser, if there is one outside this terminal."""
    with suppress(webbrowser.Error):
        if type(found := webbrowser.get()) is not webbrowser.GenericBrowser:
            found.open(url)
