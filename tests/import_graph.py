"""Reads who imports whom from the source, for the pictures in docs/architecture.md.

All imports count: those inside functions, and those for the type checker, too.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from allocation.rooms import ROOMS as TABLE
from tests.shape import ALLOCATION, files, room_folders

Graph = Mapping[str, set[str]]

LAYERS = (  # from the top; what stands side by side may know the other
    ("entrypoints",),
    ("bootstrap",),
    ("publishing",),
    ("views", "config"),
    ("adapters",),
    ("service_layer",),
    ("domain", "rooms"),
)
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}
PACKAGES = ("entrypoints", "adapters", "service_layer", "domain")
ROOMS = {".".join(folder.relative_to(ALLOCATION).parts) for folder in room_folders()}
LEFT_OUT = ("__main__", "adapters.migrations")


def modules() -> dict[str, set[str]]:
    """Return each module of the application, without its prefix, and those it imports."""
    trees = {_name(file): ast.parse(file.read_text()) for file in files(ALLOCATION)}
    known = {name: tree for name, tree in trees.items() if not name.startswith(LEFT_OUT)}
    return {name: set(_imported(tree, known)) - {name, ""} for name, tree in known.items() if name}


def _name(file: Path) -> str:
    parts = file.relative_to(ALLOCATION).with_suffix("").parts
    return ".".join(parts).removesuffix("__init__").removesuffix(".")


def _imported(tree: ast.Module, known: Iterable[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield from _module(name, known)


def _module(name: str, known: Iterable[str]) -> Iterator[str]:
    package, _, inner = name.partition(".")
    if package != "allocation":
        return
    while inner and inner not in known:
        inner = inner.rpartition(".")[0]
    yield inner


def box(module: str) -> str:
    """Return what stands for a module in the picture of the layers: its room, else its layer."""
    inside = [room for room in ROOMS if f"{module}.".startswith(f"{room}.")]
    return inside[0] if inside else module.partition(".")[0]


def boxes() -> dict[str, set[str]]:
    """Return the layers and the rooms, and what each imports of the others."""
    graph: dict[str, set[str]] = {}
    for module, imported in modules().items():
        graph.setdefault(box(module), set()).update(box(other) for other in imported)
    return {name: others - {name} for name, others in graph.items()}


def inside(package: str) -> dict[str, set[str]]:
    """Return the modules of the core in a layer, and what each imports of the others.

    A package in the layer is one of them.
    """
    graph: dict[str, set[str]] = {}
    for module, imported in modules().items():
        if box(module) == package and module != package:
            of_layer = (_below(package, other) for other in imported if box(other) == package)
            graph.setdefault(_below(package, module), set()).update(of_layer)
    return {name: others - {name, ""} for name, others in graph.items()}


def _below(package: str, module: str) -> str:
    return module.removeprefix(package).removeprefix(".").partition(".")[0]


def circle(graph: Graph) -> list[str]:
    """Return a circle in the graph, if there is one; its first and last name are the same."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [str(name) for name in error.args[1]]
    return []


def upward() -> list[str]:
    """Return each import of a higher layer by a lower one, of a room by the core or another."""
    return [
        f"{module} → {other}"
        for module, imported in modules().items()
        for other in imported
        if _level(other) < _level(module) or (box(other) in ROOMS and not _at_home(module, other))
    ]


def _level(module: str) -> int:
    return LEVELS[module.partition(".")[0]]


def _at_home(module: str, other: str) -> bool:
    """Tell whether a room is imported by itself, in whichever layer, or by one that needs it."""
    room, imported = (box(each).rpartition(".")[2] for each in (module, other))
    return room == imported or (room in TABLE and imported in TABLE[room].needs)


def reduced(graph: Graph) -> dict[str, list[str]]:
    """Return the graph, top first, without the arrows that follow from others: to be readable."""
    return {
        name: sorted(graph[name] - set().union(*(_reachable(graph, o) for o in graph[name])))
        for name in sorted(graph, key=lambda name: (-_height(graph, name), name))
    }


def _reachable(graph: Graph, start: str) -> set[str]:
    return graph[start].union(*(_reachable(graph, other) for other in graph[start]))


def _height(graph: Graph, name: str) -> int:
    return max((_height(graph, other) + 1 for other in graph[name]), default=0)


def layers() -> Iterator[str]:
    """Yield the picture of the layers, with the rooms beside them."""
    graph = reduced(boxes())
    yield from _picture(graph, [name for name in graph if name in ROOMS])


def inside_layers() -> Iterator[str]:
    """Yield a picture of each layer that is a package: the modules of its core."""
    for package in PACKAGES:
        yield from ("", f"[{package}](../src/allocation/{package}):", "")
        yield from _picture(reduced(inside(package)))
    yield ""


def _picture(graph: Mapping[str, list[str]], rooms: Sequence[str] = ()) -> Iterator[str]:
    yield "```mermaid"
    yield "flowchart TB"
    if rooms:
        yield '    subgraph optional ["rooms, to take out"]'
        yield from (f'        {_id(name)}["{name.replace(".", "/")}"]' for name in rooms)
        yield "    end"
    for name, others in graph.items():
        if others:
            yield f"    {_id(name)} --> {' & '.join(map(_id, others))}"
        elif not any(name in imported for imported in graph.values()):
            yield f"    {_id(name)}"
    yield "```"


def _id(name: str) -> str:
    return name.replace(".", "_")
