"""What the panel asks and orders. The room web guards it like all that the operator may do."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path as File
from typing import Annotated, Any, Literal

from anyio.abc import TaskGroup
from fastapi import APIRouter, Path, Request
from fastapi.responses import FileResponse, HTMLResponse
from pydantic import BaseModel, Field

from allocation.domain.exceptions import Refused
from allocation.entrypoints.playground import lines, proofs
from allocation.entrypoints.playground.courses import Course
from allocation.entrypoints.playground.experiments import EXPERIMENTS, carry_out
from allocation.entrypoints.playground.playground import Playground
from allocation.entrypoints.playground.processes import COMMANDS
from allocation.entrypoints.running import task_group

STATIC = File(__file__).with_name("static")
LATEST = 150  # e-mails that are shown

ChildName = Annotated[str, Path(pattern=f"^({'|'.join(COMMANDS)})$")]
ExperimentName = Annotated[str, Path(pattern=f"^({'|'.join(EXPERIMENTS)})$")]

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/playground", include_in_schema=False)


class ExperimentUnderWay(Refused):
    """Another experiment is under way; it ends by itself."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the experiment {name!r} has not come to its end")


class Mail(BaseModel):
    """What the line to the mail server shall do."""

    state: lines.State


class Signal(BaseModel):
    """What shall be done to a process."""

    action: Literal["kill", "freeze", "thaw", "start"]


class Registrations(BaseModel):
    """How many users shall register."""

    count: Annotated[int, Field(ge=1, le=100)]


@dataclass(slots=True)
class Panel:
    """What the endpoints work with."""

    play: Playground
    group: TaskGroup
    courses: dict[str, Course] = field(default_factory=dict)

    def start(self, function: Callable[..., Awaitable[object]], *arguments: object) -> None:
        """Do something beside the rest; what goes wrong with it is logged, and hurts nobody."""

        async def run() -> None:
            try:
                await function(*arguments)
            except Exception:
                logger.exception("%s failed", function)

        self.group.start_soon(run)

    def begin(self, name: str) -> None:
        """Begin an experiment.

        :raises ExperimentUnderWay: if one has not come to its end
        """
        for other, course in self.courses.items():
            if course.state == "running":
                raise ExperimentUnderWay(other)
        course = self.courses[name] = Course(state="running")
        self.start(carry_out, self.play, EXPERIMENTS[name], course)

    def shown(self) -> dict[str, Any]:
        """Return all that there is to see."""
        play = self.play
        mailboxes, registering = play.mailboxes, play.registering
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
                "state": play.line.state,
                "held": play.line.held,
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
                    **asdict(self.courses.get(name, Course())),
                }
                for name, experiment in EXPERIMENTS.items()
            ],
        }


@asynccontextmanager
async def panel(play: Playground) -> AsyncIterator[Panel]:
    """Have a panel, whose orders are carried out until it is left."""
    async with task_group() as group:
        yield Panel(play, group)
        group.cancel_scope.cancel()


@router.get("/state")
async def state(request: Request) -> dict[str, Any]:
    """Show how everything is."""
    return _panel(request).shown()


@router.post("/mail", status_code=204)
async def change_mail(mail: Mail, request: Request) -> None:
    """Let the mail server be there, refuse, hang or be slow."""
    await _panel(request).play.line.become(mail.state)


@router.post("/processes/{name}", status_code=204)
async def change_process(name: ChildName, signal: Signal, request: Request) -> None:
    """Kill, freeze, thaw or start a process."""
    child = _panel(request).play.children[name]
    match signal.action:
        case "kill":
            await child.kill()
        case "freeze":
            child.freeze()
        case "thaw":
            child.thaw()
        case "start":
            await child.start()


@router.post("/registrations", status_code=202)
async def register(registrations: Registrations, request: Request) -> None:
    """Register users at the web process."""
    panel = _panel(request)
    panel.start(panel.play.registering.register_many, registrations.count)


@router.post("/experiments/{name}", status_code=202)
async def begin(name: ExperimentName, request: Request) -> None:
    """Begin a guided experiment."""
    _panel(request).begin(name)


@router.get("/experiments/{name}")
async def proof(name: ExperimentName) -> HTMLResponse:
    """Show the promise of an experiment as it is documented, and the test that proves it."""
    return HTMLResponse(await proofs.page(EXPERIMENTS[name]))


@router.get("/{name}")
async def static(name: Annotated[str, Path(pattern=r"^\w+\.(js|css)$")]) -> FileResponse:
    """Send a file of the panel."""
    return FileResponse(STATIC / name)


def _panel(request: Request) -> Panel:
    panel: Panel = request.app.state.panel
    return panel
