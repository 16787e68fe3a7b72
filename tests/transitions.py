"""The life of a delivery, which the engine's tests have: the diagram in docs is made of it."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "packages/aftercommit/tests"))

from aftercommit_tests.transitions import TRANSITIONS, State, Step

__all__ = ["TRANSITIONS", "State", "Step"]
