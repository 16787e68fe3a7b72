"""Its endpoints."""

from typing import Annotated
from uuid import UUID

from aftercommit.extensions.web.endpoints import OF_BODIES, Execution, Running, errors
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from aftercommit_tests.things import storage
from aftercommit_tests.things.domain import (
    BreakThing,
    MakeThing,
    NameTaken,
    RenameThing,
    ThingId,
    ThingNotFound,
)

public, guarded = APIRouter(), APIRouter()  # who may use the second needs the token
Name = Annotated[str, Field(min_length=1, max_length=100, examples=["lamp"])]


class NewThing(BaseModel):
    """A thing to make. Without `thing_id`, the server makes one."""

    model_config = ConfigDict(extra="forbid")
    thing_id: UUID | None = None
    name: Name


class NewName(BaseModel):
    """How a thing is called from now on."""

    model_config = ConfigDict(extra="forbid")
    name: Name


@public.post("/things", status_code=201, responses=errors(NameTaken) | OF_BODIES)
async def make_thing(new: NewThing, execution: Execution, response: Response) -> NewThing:
    """Make a thing."""
    thing_id = new.thing_id or execution.new_id()
    await execution.execute(MakeThing(thing_id=ThingId(thing_id), name=new.name))
    response.headers["Location"] = f"/things/{thing_id}"
    return NewThing(thing_id=thing_id, name=new.name)


@guarded.put(
    "/things/{thing_id}/name",
    status_code=204,
    responses=errors(ThingNotFound, NameTaken) | OF_BODIES,
)
async def rename_thing(thing_id: UUID, new: NewName, execution: Execution) -> None:
    """Give a thing another name."""
    await execution.execute(RenameThing(thing_id=ThingId(thing_id), name=new.name))


@guarded.delete("/things/{thing_id}", status_code=204, responses=errors(ThingNotFound))
async def break_thing(thing_id: UUID, execution: Execution) -> None:
    """Let a thing fall down."""
    await execution.execute(BreakThing(thing_id=ThingId(thing_id)))


@guarded.get("/things/{name}", responses=errors(ThingNotFound))
async def get_thing(name: str, running: Running) -> NewThing:
    """Show the thing with this name."""
    for thing_id in await storage.find_thing(running.database, name):
        return NewThing(thing_id=thing_id, name=name)
    raise ThingNotFound(name)
