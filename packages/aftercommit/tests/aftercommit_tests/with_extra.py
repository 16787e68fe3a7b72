"""Runs a program as if the engine had been installed with one extra, and nothing else were there.

    python -m aftercommit_tests.with_extra sqlite program.py …

What the extra does not bring cannot be imported, and entry points of it are not found.
"""

import importlib.metadata
import runpy
import sys
from collections.abc import Collection
from importlib.machinery import PathFinder
from typing import Any

from packaging.utils import canonicalize_name

from aftercommit_tests.environments import needed_by

NOT_MAPPED = {"sqlalchemy_anyio": ["sqlalchemy-anyio"]}  # installed by its path


def keep_only(extra: str) -> None:
    """Hide all distributions but those of the engine with this extra."""
    kept = {"aftercommit", *(name for name, _ in needed_by("aftercommit", extra, sys.path))}
    modules = {**importlib.metadata.packages_distributions(), **NOT_MAPPED}
    hidden = {module for module, names in modules.items() if not kept & {*map(as_pip, names)}}
    for module in [each for each in sys.modules if each.partition(".")[0] in hidden]:
        del sys.modules[module]  # which this module has needed
    sys.meta_path = [without(hidden) if each is PathFinder else each for each in sys.meta_path]
    found = importlib.metadata.distributions
    importlib.metadata.distributions = lambda **where: (
        each for each in found(**where) if as_pip(each.name) in kept
    )


def as_pip(name: str) -> str:
    """Return the name of a distribution as pip compares it."""
    return str(canonicalize_name(name))


def without(hidden: Collection[str]) -> Any:
    """Return what finds modules on the path, but for these."""

    class Finder(PathFinder):
        @classmethod
        def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> Any:
            if fullname.partition(".")[0] in hidden:
                return None
            return super().find_spec(fullname, path, target)

    return Finder


if __name__ == "__main__":
    _, extra, *sys.argv = sys.argv
    keep_only(extra)
    runpy.run_path(sys.argv[0], run_name="__main__")
