"""The messages on which others rely, published and stored, kept in golden files.

    make language

writes them, unless a message would get another shape without a new version: then messages of other
services, or in tables, could no longer be read. Descriptions may change freely.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from aftercommit.errors import slug_of
from aftercommit.extensions.brokers.asyncapi import published_language

from allocation.bootstrap import CODEC
from allocation.entrypoints.app import APP
from tools.generated import all_errors
from tools.openapi_compatibility import Json, broken_in_api, described, shape
from tools.repository import ROOT

STALE = "run: make language"
UNRELEASED = """\
If it was never released, nobody relies on it: take back what `make language` has written by

    git checkout HEAD -- {files}

or, if that is committed, by deleting its entry in the file. Then run: make language"""
ERRORS = ROOT / "docs" / "errors.md"

Shapes = Mapping[str, tuple[int, Json]]
"""The name of each message → its version, and the shape that it has in this version."""

WIRE = "src/allocation/bootstrap.py"


def stored() -> Json:
    """Return the shape of each event, as it is stored, because rows outlive programs."""
    types = CODEC.events.items()
    return {f"{name} {CODEC.version_of(name)}": _shape_of_type(type_) for name, type_ in types}


@dataclass(frozen=True, slots=True)
class GoldenFile:
    """A file with what others rely on, how it is made, and how it may not change."""

    path: Path
    make: Callable[[], Json]
    broken_by: Callable[[Json, Json], Iterator[str]]

    @property
    def name(self) -> str:
        """Its name in messages."""
        return os.path.relpath(self.path, ROOT)

    def broken(self) -> list[str]:
        """Return a sentence for each way in which the program breaks the file's promises."""
        return list(self.broken_by(self.read(), self.make()))

    def is_stale(self) -> bool:
        """Tell whether the file has another shape than the one made now."""
        return bool(shape(self.read()) != shape(self.make()))

    def read(self) -> Json:
        """Return the file's content."""
        return dict(json.loads(self.path.read_text(encoding="utf-8")))


def broken_in_store(old: Json, new: Json) -> Iterator[str]:
    """Yield a sentence for each event that may be stored and could no longer be read."""
    yield from _broken(_stored_shapes(old), _stored_shapes(new))


def _stored_shapes(golden: Json) -> Shapes:
    named = [(*key.split(), shape) for key, shape in golden.items()]
    return {name: (int(version), shape) for name, version, shape in named}


def _broken(old: Shapes, new: Shapes) -> Iterator[str]:
    for name, (version, form) in old.items():
        now, new_form = new.get(name, (0, {}))
        if not now:
            yield (
                f"{name} is gone, and others rely on it: bring it back, or its PUBLISH; if"
                " its class has another name now, write the old one into `aliases` of CODEC in"
                f" {WIRE}"
            )
        elif now < version:
            yield f"{name} has version {now}, after {version}: bring back its UPCASTERS in {WIRE}"
        elif now == version and new_form != form:
            yield (
                f"{name} has another shape, and still version {version}: give it a new version,"
                f' by an upcaster ("{name}", {version}) in UPCASTERS of {WIRE}'
            )


def _shape_of_type(type_: type) -> Json:
    _, components = msgspec.json.schema_components([type_])
    return dict(shape(components[type_.__name__]))


def published() -> Json:
    """Return the AsyncAPI document."""
    return dict(json.loads(published_language(APP)))


def broken_in_public(old: Json, new: Json) -> Iterator[str]:
    """Yield a sentence for each message and channel that others would no longer find."""
    known = {name: _payloads(old)[name]["properties"].keys() for name in _payloads(old)}
    yield from _broken(_published_shapes(old, known), _published_shapes(new, known))
    for name, channel in old["channels"].items():
        now = new["channels"].get(name, {})
        if any(now.get(part) != channel.get(part) for part in ("address", "bindings")):
            yield f"channel {name} is not where it was: others look for it at {channel['address']}"


def _published_shapes(document: Json, known: Mapping[str, Collection[str]]) -> Shapes:
    """Return the shapes without attributes that are new and optional: nobody has to know those."""
    shapes: dict[str, tuple[int, Json]] = {}
    for name, payload in _payloads(document).items():
        counts = {*payload["required"], *known.get(name, ())}
        properties = {name: of for name, of in payload["properties"].items() if name in counts}
        version = payload["properties"]["schemaversion"]["const"]
        shapes[name] = version, shape(payload | {"properties": properties})
    return shapes


def _payloads(document: Json) -> Json:
    """Return the payloads of our own messages; those that we read are in `contracts`."""
    messages = document["components"]["messages"].items()
    return {name: m["payload"] for name, m in messages if not name.startswith("from.")}


STORED = GoldenFile(ROOT / "checks" / "stored_events.json", stored, broken_in_store)
GOLDEN = [
    STORED,
    GoldenFile(ROOT / "docs/brokers/asyncapi.json", published, broken_in_public),
    GoldenFile(ROOT / "docs/web/openapi.json", described, broken_in_api),
]


def errors_gone(page: str) -> list[str]:
    """Return a sentence for each error of a page like docs/errors.md that is no longer raised.

    Programs recognize errors by their slugs, which `make language` also writes there.
    """
    known = {slug_of(error) for error in all_errors()}
    return [
        f"the error {slug} is gone, and others rely on its name: its class has to keep its own"
        for slug in dict.fromkeys(re.findall(r"^\|[^|]*\| `([a-z-]+)` \|", page, re.MULTILINE))
        if slug not in known
    ]


def write_all(files: Sequence[GoldenFile] = GOLDEN) -> str | None:
    """Write what is outdated, or nothing: then return which promises would be broken."""
    broken = {file.name: file.broken() for file in files}
    broken[os.path.relpath(ERRORS, ROOT)] = errors_gone(ERRORS.read_text(encoding="utf-8"))
    if names := [name for name, sentences in broken.items() if sentences]:
        sentences = dict.fromkeys(sentence for name in names for sentence in broken[name])
        return "\n".join(
            ["nothing is written:", *sentences, UNRELEASED.format(files=" ".join(names))]
        )
    for file in files:
        text = json.dumps(file.make(), indent=2, ensure_ascii=False) + "\n"
        if text != file.path.read_text(encoding="utf-8"):
            file.path.write_text(text, encoding="utf-8")
            print(f"written: {file.path.name}")
    return None


if __name__ == "__main__":
    sys.exit(write_all())
