"""Kills a process at a moment that the test knows."""

import subprocess
import time

LIMIT_SECONDS = 60
WAITING = """SELECT count(*) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND datname = current_database()"""


def kill_when_it_waits(process: "subprocess.Popen[str]", url: str) -> None:
    """Kill a process as soon as it waits for a lock in this PostgreSQL database.

    So a test that holds the lock knows where the process was, for example inside a handler.

    >>> import pathlib, subprocess, sys
    >>> import psycopg
    >>> from aftercommit import testing
    >>> server = testing.postgresql_server(pathlib.Path("postgres"))
    >>> lock = "SELECT pg_advisory_xact_lock(1)"
    >>> waiting = f"import psycopg, sys; psycopg.connect(sys.argv[1]).execute('{lock}')"
    >>> with testing.postgresql_url(server) as url, psycopg.connect(url) as connection:
    ...     locked = connection.execute(lock)
    ...     process = subprocess.Popen([sys.executable, "-c", waiting, url], text=True)
    ...     testing.kill_when_it_waits(process, url)
    >>> process.returncode
    -9
    """
    import psycopg

    end = time.monotonic() + LIMIT_SECONDS
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute(WAITING).fetchone() == (0,):
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(
                    f"it ended before it waited for a lock; its exit code is {process.returncode}"
                )
            time.sleep(0.02)
    process.kill()
    process.wait()
