"""What the panel shows and does. The extension web protects it like all operators' endpoints."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path as File
from typing import Annotated, Any, Literal

from aftercommit import Refused
from anyio import create_task_group
from anyio.abc import TaskGroup
from fastapi import APIRouter, HTTPException, Path, Request
from fastapi.responses import FileResponse, HTMLResponse
from pydantic import BaseModel, Field

from playground import fault_proxy, proof_page
from playground.experiment_run import ExperimentRun
from playground.experiments import EXPERIMENTS, carry_out
from playground.playground import Playground
from playground.processes import COMMANDS

STATIC = File(__file__).with_name("static")
FILES = {file.name for file in STATIC.iterdir()}
LATEST = 150  # e-mails that are shown

ChildName = Annotated[str, Path(pattern=f"^({'|'.join(COMMANDS)})$")]
ExperimentName = Annotated[str, Path(pattern=f"^({'|'.join(EXPERIMENTS)})$")]

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/playground", include_in_schema=False)


class ExperimentUnderWay(Refused):
    """Another experiment is running; it will end by itself."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the experiment {name!r} is still running")


class Mail(BaseModel):
    """What the proxy in front of the mail server has to do."""

    state: fault_proxy.State


class Signal(BaseModel):
    """What has to be done to a process."""

    action: Literal["kill", "freeze", "thaw", "start"]


class Registrations(BaseModel):
    """How many users have to register."""

    count: Annotated[int, Field(ge=1, le=100)]


@dataclass(slots=True)
class Panel:
    """What the endpoints work with."""

    play: Playground
    group: TaskGroup
    runs: dict[str, ExperimentRun] = field(default_factory=dict)

    def start(self, function: Callable[..., Awaitable[object]], *arguments: object) -> None:
        """Do something in the background; its errors are logged, and harm nobody."""

        async def run() -> None:
            try:
                await function(*arguments)
            except Exception:
                logger.exception("%s failed", function)

        self.group.start_soon(run)

    def begin(self, name: str) -> None:
        """Begin an experiment.

        :raises ExperimentUnderWay: if one is still running
        """
        for other, run in self.runs.items():
            if run.state == "running":
                raise ExperimentUnderWay(other)
        run = self.runs[name] = ExperimentRun(state="running")
        self.start(carry_out, self.play, EXPERIMENTS[name], run)

    def shown(self) -> dict[str, Any]:
        """Return everything there is to show."""
        play = self.play
        mailboxes, registering = play.mailboxes, play.registrations
        return {
            "processes": [
                {
                    "name": child.name,
                    "state": child.state,
                    "pid": child.pid,
                    "version": child.version,
                }
                for child in play.children.values()
            ],
            "mail": {
                "state": play.proxy.state,
                "stalled": play.proxy.stalled,
                "count": mailboxes.count,
                "latest": [asdict(email) for email in islice(reversed(mailboxes.received), LATEST)],
            },
            "registering": {
                "answered": registering.answered,
                "waiting": registering.waiting,
                "repeated": registering.repeated,
            },
            "experiments": [
                {
                    "name": name,
                    "steps": experiment.steps,
                    "promise": experiment.promise,
                    "proof": experiment.proof,
                    **asdict(self.runs.get(name, ExperimentRun())),
                }
                for name, experiment in EXPERIMENTS.items()
            ],
        }


@asynccontextmanager
async def panel(play: Playground) -> AsyncIterator[Panel]:
    """Open a panel, which carries out orders until it is closed."""
    async with create_task_group() as group:
        yield Panel(play, group)
        group.cancel_scope.cancel()


@router.get("/state")
async def state(request: Request) -> dict[str, Any]:
    """Show the state of everything."""
    return _panel(request).shown()


@router.post("/mail", status_code=204)
async def change_mail(mail: Mail, request: Request) -> None:
    """Let the mail server work, refuse, hang or be slow."""
    await _panel(request).play.proxy.set_mode(mail.state)


@router.post("/processes/{name}", status_code=204)
async def change_process(name: ChildName, signal: Signal, request: Request) -> None:
    """Kill, freeze, thaw or start a process."""
    play = _panel(request).play
    child = play.children[name]
    match signal.action:
        case "kill":
            await child.kill()
        case "freeze":
            await play.freeze(child)
        case "thaw":
            child.thaw()
        case "start":
            await child.start()


@router.post("/registrations", status_code=202)
async def register(registrations: Registrations, request: Request) -> None:
    """Register users at the web process."""
    panel = _panel(request)
    panel.start(panel.play.registrations.register_many, registrations.count)


@router.post("/experiments/{name}", status_code=202)
async def begin(name: ExperimentName, request: Request) -> None:
    """Begin a guided experiment."""
    _panel(request).begin(name)


@router.get("/experiments/{name}")
async def proof(name: ExperimentName) -> HTMLResponse:
    """Show the guarantee of an experiment as it is documented, and the test that proves it."""
    return HTMLResponse(await proof_page.page(EXPERIMENTS[name]))


@router.get("/{name}")
async def static(name: str) -> FileResponse:
    """Send a file of the panel."""
    if name not in FILES:
        raise HTTPException(404)
    return FileResponse(STATIC / name)


def _panel(request: Request) -> Panel:
    panel: Panel = request.app.state.panel
    return panel
