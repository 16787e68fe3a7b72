"""The requests of the README do what it says."""

import os
import re
import shutil
import subprocess

import pytest

from tests.e2e.processes import ROOT, Application
from tests.e2e.web.serving import TOKEN, serving

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")


def test_a_user_is_registered_with_curl_and_once_more(application: Application) -> None:
    """The second time with the first result."""
    register, *others = re.findall(r"```sh\n(curl .*?)```", (ROOT / "README.md").read_text(), re.S)
    with serving(application) as server:

        def run(command: str) -> str:
            command = command.replace("http://127.0.0.1:8000", server.url)
            environment = {**os.environ, "TOKEN": TOKEN}
            ended = subprocess.run(command, shell=True, env=environment, capture_output=True)
            return ended.stdout.decode()

        first, again = run(register), run(register)
        shown = [run(command) for command in others]

    assert first.startswith("HTTP/1.1 201")
    assert first.splitlines()[-1] == again.splitlines()[-1]
    assert all(answer.startswith('[{"kind":"command"') for answer in shown)
