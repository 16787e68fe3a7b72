"""Message bus, unit of work, and durable delivery of events after the commit.

The engine knows no application: what one consists of is passed in. Begin with `bus.py` and
`unit_of_work.py`; `sql` keeps all of it in a database, `process` runs it, and `extensions` are
optional, each with an extra of its name.

Examples in docstrings run as they stand. `shop` in them is the project that `aftercommit new shop`
makes, with its options.

The public names are listed once, in `__init__.pyi`, and each is imported when it is first used: so
`--help` imports no database. (The library for this parses the list with `ast`, which costs more
than all else that `--help` needs but Click.)
"""

import re
from importlib import import_module
from pkgutil import get_data
from typing import Any

_LIST = (get_data(__name__, "__init__.pyi") or b"").decode()
_FROM = re.findall(r"^from \.([\w.]+) import ([^(]+?|\([^)]+\))$", _LIST, re.MULTILINE)
_HOMES = {name: home for home, names in _FROM for name in re.findall(r" as (\w+)", names)}
__all__ = tuple(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"{__name__} has no public name {name}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
