"""Draws who imports whom, for docs/architecture.md.

That nothing stands in a circle, and that no import leads up, is checked by import-linter, from the
same graph.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from textwrap import wrap

import grimp

from tests.shape import ALLOCATION, extension_folders

Graph = Mapping[str, set[str]]

PACKAGES = ("entrypoints", "process", "adapters", "service_layer", "domain")
EXTENSIONS = {".".join(folder.relative_to(ALLOCATION).parts) for folder in extension_folders()}
LEFT_OUT = ("__main__", "adapters.migrations", "adapters.engine_migrations")


@cache
def modules() -> dict[str, set[str]]:
    """Return each module of the application, without its prefix, and those it imports."""
    graph = grimp.build_graph("allocation", cache_dir=None)
    known = {name for name in map(_name, graph.modules) if not name.startswith(LEFT_OUT)} - {""}
    return {
        name: {
            _name(each) for each in graph.find_modules_directly_imported_by(f"allocation.{name}")
        }
        & known
        for name in sorted(known)
    }


def _name(module: str) -> str:
    return module.removeprefix("allocation").removeprefix(".")


def box(module: str) -> str:
    """Return what stands for a module in the picture of the layers: its extension or layer."""
    inside = [extension for extension in EXTENSIONS if f"{module}.".startswith(f"{extension}.")]
    return inside[0] if inside else module.partition(".")[0]


def boxes() -> dict[str, set[str]]:
    """Return the layers and the extensions, and what each imports of the others."""
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
    """Yield the picture of the layers, with the extensions beside them."""
    graph = reduced(boxes())
    yield from _picture(graph, [name for name in graph if name in EXTENSIONS])


def inside_layers() -> Iterator[str]:
    """Yield a picture of each layer that is a package: the modules of its core."""
    for package in PACKAGES:
        yield from ("", f"[{package}](../src/allocation/{package}):", "")
        yield from _picture(reduced(inside(package)))
    yield ""


def _picture(graph: Mapping[str, list[str]], extensions: Sequence[str] = ()) -> Iterator[str]:
    yield "```mermaid"
    yield "flowchart TB"
    if extensions:
        yield '    subgraph optional ["extensions, which are optional"]'
        yield from (f'        {_id(name)}["{name.replace(".", "/")}"]' for name in extensions)
        yield "    end"
    for name, others in graph.items():
        if others:
            arrow = f"    {_id(name)} -->"
            some = wrap(" & ".join(map(_id, others)), 99 - len(arrow))
            yield from (f"{arrow} {each.removesuffix(' &')}" for each in some)
        elif not any(name in imported for imported in graph.values()):
            yield f"    {_id(name)}"
    yield "```"


def _id(name: str) -> str:
    return name.replace(".", "_")
