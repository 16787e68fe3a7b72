"""The command of the HTTP server."""

import click

from allocation.entrypoints import runtime
from allocation.entrypoints.cli.common import Options, load_settings
from allocation.extensions.web.server import web_service


@click.command()
@click.option("--host", metavar="ADDRESS", help="Where to listen. Default: 127.0.0.1")
@click.option("--port", type=click.IntRange(0, 65535), help="0: any that is free. Default: 8000")
@click.pass_obj
def serve(options: Options, host: str | None, port: int | None) -> None:
    """Serve the HTTP API, with its documentation at /docs.

    On SIGTERM or Ctrl-C, running handlers get a grace period; a second signal exits immediately. No
    work is lost.
    """
    # an empty --host is that of a script whose variable is not set: it must not open the door
    overrides = {**options, "http_host": host or None, "http_port": port, "collect_metrics": True}
    settings = load_settings(overrides, log_level="info")
    runtime.run_services(settings, web_service(settings), delivers=settings.dispatch == "inline")
