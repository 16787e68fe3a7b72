"""Step 4: leases, retries, and a fencing token.

Before, two relays that have read the same row both do it. Now, a worker claims a row for the time
of a lease; then another may. What it writes about it has to find the token of its own claim.
"""

import os
import signal
import smtplib
import sqlite3
import subprocess
import sys
from inspect import getsourcelines
from socketserver import StreamRequestHandler, ThreadingTCPServer
from tempfile import TemporaryDirectory
from threading import Thread
from time import perf_counter

import aiosqlite
import anyio

TABLES = """CREATE TABLE users (email);
CREATE TABLE deliveries (email, pending DEFAULT TRUE, token DEFAULT 0, available_at DEFAULT 0);"""
REGISTER = """BEGIN; INSERT INTO users VALUES ('ivan@example.com');
INSERT INTO deliveries (email) VALUES ('ivan@example.com'); COMMIT;"""
NOW = "julianday('now') * 86400"  # the database's clock, in seconds
PENDING = "SELECT rowid, email, token FROM deliveries WHERE pending"
CLAIM = f"""UPDATE deliveries SET token = token + 1, available_at = {NOW} + 0.2
WHERE pending AND available_at <= {NOW} RETURNING rowid, email, token"""
WRITE = f"""UPDATE deliveries SET pending = :pending, available_at = {NOW} + :pause
WHERE rowid = :row"""
WAYS = {
    "Before: read, send, write": (PENDING, WRITE),
    "With a lease, if a late failure is written": (CLAIM, WRITE),
    "Now: with a lease and a token": (CLAIM, f"{WRITE} AND token = :token"),
}
received: list[list[bytes]] = []
refusals: list[bytes] = []
signals = sys.argv[4:]


async def work(database: aiosqlite.Connection, port: int, claim: str, write: str) -> None:
    """Work until nothing is pending. After a failure, pause: twice as long each time."""
    while await database.execute_fetchall(PENDING):
        for row, email, token in (claimed := await database.execute_fetchall(claim)):
            fate = {"pending": False, "pause": 0.0, "row": row, "token": token}
            try:
                await anyio.to_thread.run_sync(send, email, port)
            except smtplib.SMTPException:
                fate |= {"pending": True, "pause": 0.05 * 2**token}
            freeze_once()
            if not (await database.execute(write, fate)).rowcount:
                print(f"  worker 1 is too late: claim {token} is not the last one")
        await anyio.sleep(0 if claimed else 0.01)  # until a pause or a lease is over


def send(recipient: str, port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port) as server:
        server.sendmail("shop@example.com", recipient, "Subject: Welcome")


class MailServer(StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(refusals.pop() if refusals else b"220 hello\r\n")
        for line in self.rfile:
            code = {b"DATA": b"354", b"QUIT": b"221"}.get(line[:4].upper(), b"250")
            self.wfile.write(code + b" ok\r\n")
            if code == b"354":
                received.append(list(iter(self.rfile.readline, b".\r\n")))
                self.wfile.write(b"250 taken\r\n")


def freeze_once() -> None:
    while signals:
        os.kill(os.getpid(), signal.Signals[signals.pop()])


async def run(folder: str, port: int, way: str, before: str = "") -> str:
    statements: list[str] = []
    async with aiosqlite.connect(f"{folder}/shop.db", isolation_level=None) as database:
        await database.set_trace_callback(statements.append)
        started = perf_counter()
        await database.executescript(before)
        await work(database, port, *WAYS[way])
    return f"{len(statements)} statements, {(perf_counter() - started) * 1000:.1f} ms"


def show(way: str, port: int) -> str:
    """Let worker 1 freeze in the middle, worker 2 do all that is pending, and worker 1 go on."""
    print(way)
    received.clear()
    with TemporaryDirectory() as folder:
        sqlite3.connect(f"{folder}/shop.db").executescript(TABLES + REGISTER).connection.close()
        worker = [sys.executable, __file__, folder, str(port), way]
        with subprocess.Popen([*worker, "SIGSTOP"], stdout=subprocess.PIPE, text=True) as first:
            os.waitpid(first.pid, os.WUNTRACED)
            subprocess.run(worker)
            print(f"  worker 1 is frozen, worker 2 has done all: e-mails {len(received)}")
            first.send_signal(signal.SIGCONT)
            print(first.communicate()[0], end="")
        print(f"  worker 1 has gone on: e-mails {len(received)}")
        return anyio.run(run, folder, port, way, REGISTER)


def main() -> None:
    with ThreadingTCPServer(("127.0.0.1", 0), MailServer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        for way in WAYS:
            price = show(way, server.server_address[1])
            refusals.append(b"421 come back later\r\n")
        server.shutdown()
    print(f"Price: {len(getsourcelines(work)[0])} lines, {price} a registration.")
    print("Still doubled: what a worker has done, if it dies before it has written that.")
    print("Stop here if a repetition does no harm: an e-mail that is recognized by its id.")


if sys.argv[1:]:
    anyio.run(run, sys.argv[1], int(sys.argv[2]), sys.argv[3])
else:
    main()
