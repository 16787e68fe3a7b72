"""The shapes of stored events, in a file that is committed: rows outlive the program's versions."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from aftercommit.codec import Codec, any_json
from aftercommit.process.app import App
from aftercommit.testing.golden_lists import bring_up_to_date

Json = dict[str, Any]

CHANGED = """{name} has changed: {changes}. This program could not read the events that are
stored, or the version before could not read new ones: their deliveries would be parked. Either
{default}- say in the Codec how a stored event becomes one of the new version:
    upcasters={{("{name}", {version}): lambda old: {{"FIELD": "VALUE", **old}}}}
- or, if this shape was never released, so that no database has such an event: delete the entry
  "{name} {version}" from {file}, and run the test again"""
DEFAULT = "- give the new field a default in its class, or\n"
GONE = """{name} is gone, and databases may have such events. If its class was renamed, say so in
the Codec: aliases={{ItsNewName: "{name}"}}. If it was never released, delete its entry from
{file}"""
OLDER = """{name} has version {now}, and the stored ones have version {version}: bring back what
`upcasters` of the Codec had for it. If that version was never released, delete its entry from
{file}"""
NOT_OF_THE_SHAPE = {"default", "description", "examples", "title"}
"""What a schema says that the form of the data does not depend on."""


def check_stored_events(app: App[Any], file: Path) -> None:
    """Compare the shapes of all events with a file that has those of the newest release.

    A new event, a new version, and a new field with a default are written into the file, which is
    created if missing. Any other change needs a new version of the event, by an upcaster.

    :raises AssertionError: if the program could not read a stored event, or if the file was not up
        to date; then commit it

    >>> import pathlib
    >>> from aftercommit import testing
    >>> from shop.entrypoints.app import APP
    >>> file = pathlib.Path("stored_events.json")
    >>> length = file.write_text('{"order_placed 1": {"type": "object", "properties": {}}}')
    >>> testing.check_stored_events(APP, file)
    Traceback (most recent call last):
    AssertionError: order_placed has changed: ... is new and has no default, ...
    """
    known: Json = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    shapes = _shapes_of(app.codec())
    if broken := [*_unreadable(known, shapes, file)]:
        raise AssertionError("\n".join(broken))
    if shapes != known:
        bring_up_to_date(file, _as_text(shapes))


def _shapes_of(codec: Codec[Any]) -> Json:
    """Return the shape of each event, by its name and version, such as "order_placed 1"."""
    return {
        f"{name} {codec.version_of(name)}": _shape_of_event(event)
        for name, event in codec.events.items()
    }


def _as_text(shapes: Json) -> str:
    """Return shapes as the text of a file."""
    return json.dumps(shapes, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _unreadable(known: Json, shapes: Json, file: Path) -> Iterator[str]:
    """Yield what to do about each event that may be stored and could no longer be read."""
    present = {key.split()[0]: (int(key.split()[1]), shape) for key, shape in shapes.items()}
    for key, shape in known.items():
        name, version = key.split()
        now, new_shape = present.get(name, (0, {}))
        said = {"name": name, "version": version, "now": now, "file": file}
        if not now:
            yield GONE.format(**said)
        elif now < int(version):
            yield OLDER.format(**said)
        elif now == int(version) and (changes := [*_changes(shape, new_shape)]):
            default = DEFAULT if any("no default" in each for each in changes) else ""
            yield CHANGED.format(**said, changes=", ".join(changes), default=default)


def _changes(old: Json, new: Json) -> Iterator[str]:
    """Yield what an old program or a new one could not read in an event of the other's shape."""
    yield from _changed_fields("", old, new)
    for name, definition in old.get("$defs", {}).items():
        if (now := new.get("$defs", {}).get(name)) is not None:
            yield from _changed_fields(f"{name}.", definition, now)


def _changed_fields(prefix: str, old: Json, new: Json) -> Iterator[str]:
    before, now = old.get("properties", {}), new.get("properties", {})
    required = {*new.get("required", ())} - {*old.get("required", ())}
    for name in {**before, **now}:
        if name not in now:
            yield f"{prefix}{name} is gone"
        elif name not in before and name in required:
            yield f"{prefix}{name} is new and has no default"
        elif name in before and before[name] != now[name]:
            yield f"{prefix}{name} has another type"
        elif name in required:
            yield f"{prefix}{name} has no default any longer"
    compared = ("properties", "required", "$defs")
    if any(old.get(key) != new.get(key) for key in {*old, *new}.difference(compared)):
        yield f"{prefix.rstrip('.') or 'its data'} has other values"


def _shape_of_event(event: type) -> Json:
    definitions = msgspec.json.schema(event, schema_hook=any_json)["$defs"]
    shape: Json = _shape(definitions.pop(event.__name__))
    return shape | ({"$defs": _each_shape(definitions)} if definitions else {})


def _shape(schema: Any) -> Any:
    """Return what a schema says of the form of the data."""
    if isinstance(schema, list):
        return [_shape(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    shape = {key: _shape(value) for key, value in schema.items() if key not in NOT_OF_THE_SHAPE}
    if "properties" in schema:  # names of fields, which may be like words of a schema
        shape["properties"] = _each_shape(schema["properties"])
    if "required" in schema:
        shape["required"] = sorted(schema["required"])
    return shape


def _each_shape(schemas: Json) -> Json:
    return {name: _shape(schema) for name, schema in schemas.items()}
