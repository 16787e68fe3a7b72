"""Says that the playground's port is taken, and what to set, before anything is installed for it.

Any Python can run it: it needs nothing that is installed.
"""

import os
import socket
import sys

VARIABLE = "ALLOCATION_HTTP_PORT"
DEFAULT = "8000"


def ensure_free(port: int) -> None:
    """Do nothing if a server could listen at the port.

    :raises SystemExit: if it could not
    """
    try:
        with socket.create_server(("127.0.0.1", port)):
            pass
    except OSError as error:
        problem = (
            f"error: the playground cannot listen at port {port}: {os.strerror(error.errno or 0)}"
        )
        sys.exit(f"{problem}; name another one, or 0 for any: make playground {VARIABLE}=8137")


if __name__ == "__main__":
    if (wanted := os.environ.get(VARIABLE) or DEFAULT).isdecimal():
        ensure_free(int(wanted))
