"""Prometheus's side of the alerts: what a rule finds in samples, and when it fires, by a clock.

It knows the expressions that ask how a figure is now, not those over a range of time.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from operator import eq, gt, sub
from typing import Any

import promql_parser
from promql_parser import AggregateExpr, BinaryExpr, Call, Expr, NumberLiteral, VectorSelector

Labels = frozenset[tuple[str, str]]
Vector = Mapping[Labels, float]
Samples = Mapping[str, Vector]
"""The samples of each metric, by their labels."""

EVERY_SECONDS = 15  # a rule is evaluated so often
UNITS = {"s": 1, "m": 60, "h": 3600}
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {">": gt, "==": eq}
AGGREGATIONS: Mapping[str, Callable[..., float]] = {"max": max, "min": min}


def fires_after(
    rule: Mapping[str, Any], samples_at: Callable[[float], Samples], *, limit: float
) -> float | None:
    """Return after how many seconds an alert fires; None if it does not within the limit."""
    expression, pause = promql_parser.parse(rule["expr"]), rule.get("for", "0s")
    wanted, since = int(pause[:-1]) * UNITS[pause[-1]], None
    for now in range(0, int(limit) + 1, EVERY_SECONDS):
        if not found(expression, samples_at(now), now):
            since = None
            continue
        since = now if since is None else since
        if now - since >= wanted:
            return now
    return None


def found(expression: Expr, samples: Samples, now: float) -> Vector:
    """Return the samples that a condition finds."""
    vector = _value(expression, samples, now)
    assert isinstance(vector, Mapping)
    return vector


def _value(expression: Expr, samples: Samples, now: float) -> Vector | float:
    match expression:
        case NumberLiteral():
            return float(expression.val)
        case Call() if expression.func.name == "time":
            return now
        case VectorSelector():
            return samples[str(expression.name)]
        case AggregateExpr():
            return _aggregated(expression, found(expression.expr, samples, now))
        case BinaryExpr():
            sides = (_value(each, samples, now) for each in (expression.lhs, expression.rhs))
            return _combined(str(expression.op), *sides)
    raise NotImplementedError(str(expression))


def _aggregated(expression: AggregateExpr, vector: Vector) -> Vector:
    kept = expression.modifier.labels if expression.modifier else ()
    groups = defaultdict[Labels, list[float]](list)
    for labels, value in vector.items():
        groups[frozenset(pair for pair in labels if pair[0] in kept)].append(value)
    return {labels: AGGREGATIONS[str(expression.op)](group) for labels, group in groups.items()}


def _combined(operator: str, left: Vector | float, right: Vector | float) -> Vector:
    if isinstance(left, Mapping):
        assert isinstance(right, float)
        is_wanted = COMPARISONS[operator]
        return {labels: value for labels, value in left.items() if is_wanted(value, right)}
    assert operator == "-"
    assert isinstance(right, Mapping)
    return {labels: sub(left, value) for labels, value in right.items()}
