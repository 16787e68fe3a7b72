"""The processes of the playground: commands of the command line, as any user starts them."""

import os
import re
import signal
import sys
from collections.abc import Mapping
from subprocess import DEVNULL, STDOUT, Popen
from typing import Literal

from anyio import sleep, to_thread

from allocation.config import Settings
from playground.reaper import Sandbox

State = Literal["running", "frozen", "gone"]

CURRENT = "allocation"
NEXT = "playground.one_more_handler"
COMMANDS = {
    "web": ("serve", "--port", "0"),
    "worker-1": ("worker",),
    "worker-2": ("worker",),
}
POLL_SECONDS = 0.05


class Child:
    """One process, which can be killed, frozen, and started again under its name."""

    def __init__(self, name: str, sandbox: Sandbox, settings: Mapping[str, str]) -> None:
        self.name = name
        self.version = CURRENT
        self.log = sandbox.folder / f"{name}.log"
        self._group = sandbox.group
        self._environment = environment({**settings, "instance_name": name})
        self._command = COMMANDS.get(name, ())
        self._process: Popen[bytes] | None = None
        self._is_frozen = False
        self._url: str | None = None

    @property
    def state(self) -> State:
        """What it is doing."""
        if self._process is None or self._process.poll() is not None:
            return "gone"
        return "frozen" if self._is_frozen else "running"

    @property
    def pid(self) -> int | None:
        """Its process id, if it is running."""
        return self._process.pid if self._process and self.state != "gone" else None

    async def start(self, *arguments: str, version: str = CURRENT) -> None:
        """Start it, in this version of the program, unless it is running."""
        if self.state != "gone":
            return
        self.version, self._is_frozen, self._url = version, False, None
        command = [sys.executable, "-m", version, *(arguments or self._command)]
        with self.log.open("wb") as log:
            self._process = await to_thread.run_sync(
                lambda: Popen(
                    command,
                    stdin=DEVNULL,
                    stdout=log,
                    stderr=STDOUT,
                    env=self._environment,
                    process_group=self._group,
                )
            )

    async def kill(self) -> None:
        """End it with SIGKILL, whatever it is doing."""
        if self.pid and self._process:
            self._process.kill()
            await to_thread.run_sync(self._process.wait)

    def freeze(self) -> None:
        """Stop it with SIGSTOP; it cannot notice."""
        self._signal(signal.SIGSTOP, frozen=True)

    def thaw(self) -> None:
        """Let it go on with SIGCONT."""
        self._signal(signal.SIGCONT, frozen=False)

    async def ended(self) -> int:
        """Wait for its end, and return its exit code."""
        assert self._process
        return await to_thread.run_sync(self._process.wait, abandon_on_cancel=True)

    async def url(self) -> str:
        """Return its URL, when it serves."""
        while self._url is None:
            if found := re.search(r"listening on (http://[\w.:]+);", self.log.read_text()):
                self._url = found[1]
            await sleep(POLL_SECONDS)
        return self._url

    def _signal(self, number: signal.Signals, *, frozen: bool) -> None:
        if self.pid and self._process:
            self._process.send_signal(number)
            self._is_frozen = frozen


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this environment with our own settings, and no others."""
    ours = Settings.variable("")
    others = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return others | {Settings.variable(name): value for name, value in settings.items()}
