"""The command of the HTTP server."""

import click

from allocation.entrypoints import running
from allocation.entrypoints.cli.application import Options, set_up
from allocation.entrypoints.web.server import serving


@click.command()
@click.option("--host", metavar="ADDRESS", help="Where to listen. Default: 127.0.0.1")
@click.option("--port", type=click.IntRange(0, 65535), help="0: any that is free. Default: 8000")
@click.pass_obj
def serve(options: Options, host: str | None, port: int | None) -> None:
    """Answer HTTP requests: the API, with its documentation at /docs.

    SIGTERM or Ctrl-C lets work in hand finish, a second one ends at once; nothing is lost.
    """
    overrides = {**options, "http_host": host, "http_port": port}
    settings = set_up(overrides, log_level="info")
    running.serve(settings, serving(settings), delivers=settings.dispatch == "inline")
