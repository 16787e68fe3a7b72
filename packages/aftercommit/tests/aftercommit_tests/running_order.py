"""The order in which tests begin, several at a time. It decides about time alone.

What takes long is none of the last. Tests with processes wait, for what these do or for the one
RabbitMQ that there is, so they stand among those that compute, and those of one file far apart.
"""

from collections import defaultdict
from collections.abc import Sequence

LAYERS = ("unit", "integration", "packages", "e2e", "checks")
BESIDE = ("unit", "integration", "packages")  # in one process, each of them short
LONG_BEFORE = 0.8  # of the whole, the others have begun


def in_order(tests: Sequence[str]) -> list[str]:
    """Return the tests in the order that is the fastest."""
    places: dict[str, float] = {}
    files: defaultdict[str, list[str]] = defaultdict(list)
    for test in sorted(tests, key=_rank):
        files[test.partition("::")[0] if _layer(test) == "e2e" else _layer(test)].append(test)
    beside = [test for name, group in files.items() if name in BESIDE for test in group]
    for group in (*(group for name, group in files.items() if name not in BESIDE), beside):
        end = 1.0 if group is beside else LONG_BEFORE
        places |= {test: end * (n + 0.5) / len(group) for n, test in enumerate(group)}
    return sorted(tests, key=places.__getitem__)


def _rank(test: str) -> int:
    layer = _layer(test)
    return -LAYERS.index(layer) if layer in LAYERS else -len(LAYERS)


def _layer(test: str) -> str:
    """Return the layer of a test: the packages are one by themselves, and so are the checks."""
    first, second, *_ = test.split("/")
    if "/processes/" in test or "/simulation/" in test:  # which compute, but for long
        return "e2e"
    return first if first in LAYERS else second
