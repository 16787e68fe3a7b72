"""Runs the examples in the docstrings of all public names, each in a folder of its own.

It is a process of its own, as they set up logging. It prints which name has none, what is wrong
with others, and nothing else.
"""

import ast
import doctest
import inspect
import os
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from pkgutil import iter_modules
from tempfile import TemporaryDirectory
from typing import TypeVar

import aftercommit
from aftercommit import alembic, extensions, sqlite, testing

OF_THE_TEST_KIT = [
    f"aftercommit.testing.{each}"
    for each in (
        "delayed_handlers",
        "golden_lists",
        "stored_events",
        "killing",
        "memory_aggregates",
        "no_io",
        "omissions",
    )
]
PACKAGES = [each.name for each in iter_modules(extensions.__path__) if each.ispkg]


def public() -> Iterator[tuple[str, str]]:
    """Yield the module and the name of all that users import."""
    names = vars(aftercommit)
    yield from ((f"aftercommit.{names['_HOMES'][name]}", name) for name in names["__all__"])
    yield from ((alembic.__name__, name) for name in alembic.__all__)
    for module in (sqlite, testing, *map(import_module, OF_THE_TEST_KIT)):
        made_here = {k: v for k, v in vars(module).items() if inspect.getmodule(v) is module}
        for name, value in sorted(made_here.items()):
            if name[0] != "_" and not isinstance(value, TypeVar):
                yield module.__name__, name
    for package in PACKAGES:
        module = import_module(f"aftercommit.extensions.{package}")
        [name] = [each for each in vars(module) if each.lower() == f"{package}extension"]
        yield module.__name__, name


def docstring(module: str, name: str) -> str:
    """Return the docstring of a class or function, or what stands below an assignment."""
    value = getattr(import_module(module), name)
    if inspect.isclass(value) or inspect.isfunction(value):
        return value.__doc__ or ""
    for assigned, text in pairwise(ast.parse(inspect.getsource(import_module(module))).body):
        if isinstance(assigned, ast.Assign) and ast.unparse(assigned.targets[0]) == name:
            return str(ast.literal_eval(text.value)) if isinstance(text, ast.Expr) else ""
    raise LookupError(f"{module}.{name}")


def main() -> None:
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    servers = Path("postgres").resolve()
    for module, name in sorted(set(public())):
        test = parser.get_doctest(docstring(module, name), {"__name__": "it"}, name, module, 0)
        if not test.examples:
            print(f"{name} has no example")  # noqa: T201
        with TemporaryDirectory(dir=".") as folder:
            before = os.getcwd()
            os.chdir(folder)
            Path("postgres").symlink_to(servers)
            runner.run(test)
            os.chdir(before)


if __name__ == "__main__":
    main()
