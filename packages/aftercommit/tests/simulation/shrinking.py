"""Makes a plan that fails smaller: fewer orders, requests, outages, processes and faults.

It leaves parts out as long as the world still fails in the same way. What is left is what one
has to read. Source: A. Zeller, R. Hildebrandt, *Simplifying and Isolating Failure-Inducing Input*,
IEEE Transactions on Software Engineering 28 (2002), "delta debugging".
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from simulation import shop
from simulation.plan import Plan

T = TypeVar("T")
Fails = Callable[[Plan], int | None]
"""Runs a plan; returns how many faults it has drawn if it fails, and None if it does not."""

SIMPLER: Sequence[dict[str, Any]] = (
    {"versions": 1},
    {"slowness": 0.1},
    {"latency": 0.003},
    {"has_savepoints": False},
    {"has_sessions": False, "has_savepoints": False},
    {"impatience": 0.0},
    {"unavailable": 0.0},
    {"portless": 0.0},
    {"misbehaving": 0.0},
    {"breaks": 0.0},
    {"freezes": 0.0},
    {"crashes": 0.0},
    {"longest_freeze": 5.0},
    {"at_once": 2},
    {"per_minute": 0},
    {"pool_size": 5},
    {"concurrency": 6},
    {"max_handlers": 50},
    {"max_attempts": 4},
    {"customers": 1},
    {"notes": 0},
    {"skew": 0.0},
    {"consumers": 0, "payments": (), "set_backs": ()},
    {"workers": 1},
    {"webs": 1},
)


def shrunk(plan: Plan, fails: Fails, *, attempts: int) -> Plan:
    """Return a plan that fails as well, and is smaller if one of so many attempts was."""
    left, smallest = attempts, plan
    is_smaller = True
    while is_smaller and left > 0:
        is_smaller = False
        drawn = fails(smallest)
        left -= 1
        if drawn is None:
            return smallest
        for candidate in _candidates(smallest, drawn):
            if left <= 0:
                break
            left -= 1
            if fails(candidate) is not None:
                smallest, is_smaller = candidate, True
                break
    return smallest


def _candidates(plan: Plan, drawn: int) -> Iterator[Plan]:
    """Yield smaller plans, those first that leave out most."""
    for change in SIMPLER:
        if any(getattr(plan, name) != value for name, value in change.items()):
            yield replace(plan, **change)
    yield from (replace(plan, requests=each) for each in _shorter(plan.requests))
    yield from (replace(plan, outages=each) for each in _shorter(plan.outages))
    yield from (replace(plan, payments=each) for each in _shorter(plan.payments))
    yield from (replace(plan, set_backs=each) for each in _shorter(plan.set_backs))
    yield from (replace(plan, orders=each) for each in _shorter(plan.orders) if each)
    names = sorted(shop.HANDLERS if plan.handlers is None else plan.handlers)
    for each in _shorter(names):
        yield replace(plan, handlers=frozenset(each))
    faults = [number for number in range(1, drawn + 1) if number not in plan.without]
    for kept in _shorter(faults):
        yield replace(plan, without=plan.without | (set(faults) - set(kept)))


def _shorter(whole: Sequence[T]) -> Iterator[tuple[T, ...]]:
    """Yield a sequence without its halves, its quarters, and so on."""
    size = len(whole)
    while size:
        for begin in range(0, len(whole), size):
            yield (*whole[:begin], *whole[begin + size :])
        size //= 2
