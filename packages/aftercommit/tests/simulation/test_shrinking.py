"""What is left of a plan that fails is what it takes to fail, and nothing that a seed has drawn."""

from dataclasses import fields

from simulation import shop
from simulation.plan import Plan
from simulation.shrinking import SIMPLER, shrunk

BEGINS = {"seed", "seconds", "nights"}
"""What stays as it was drawn: another seed, or another end, would be another world."""
SHORTER = {"orders", "requests", "outages", "handlers", "without"}


def test_whatever_a_plan_may_say_can_be_left_out() -> None:
    """A new field of plans that nobody makes simpler would stay in each story."""
    simpler = {name for change in SIMPLER for name in change}

    assert simpler | SHORTER | BEGINS == {each.name for each in fields(Plan)}


def test_a_plan_that_always_fails_comes_down_to_one_order() -> None:
    """Nothing happens in a world without orders, so one of them stays."""
    plan = Plan.of(4, shop.HANDLERS)

    smallest = shrunk(plan, lambda plan: 0, attempts=1000)

    assert len(smallest.orders) == 1
    assert not [*smallest.requests, *smallest.outages]
    assert not smallest.handlers
    assert all(getattr(smallest, name) == v for each in SIMPLER for name, v in each.items())
