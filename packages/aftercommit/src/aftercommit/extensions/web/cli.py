"""The command of the HTTP server."""

import click

from aftercommit.cli.command_context import Cli
from aftercommit.extensions.web.application import web_application
from aftercommit.extensions.web.server import web_service
from aftercommit.extensions.web.settings import WebSettings


@click.command()
@click.option("--host", metavar="ADDRESS", help="Where to listen. Default: 127.0.0.1")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="The port; 0 is any free one. Default: 8000"
)
@click.pass_obj
def serve(cli: Cli, host: str | None, port: int | None) -> None:
    """Serve the HTTP API, with its documentation at /docs.

    On SIGTERM or Ctrl-C, running handlers get a grace period; a second signal exits immediately. No
    work is lost.
    """
    # an empty --host comes from a script whose variable is not set; it must not open the server
    overrides = {"http_host": host or None, "http_port": port, "collect_metrics": True}
    settings = cli.load_settings(log_level="info", **overrides)
    app = web_application(cli.app, settings.of(WebSettings))
    cli.run_services(settings, web_service(settings, app), delivers=settings.dispatch == "inline")
