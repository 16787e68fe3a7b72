"""The mutations are of the engine as it is: each can be made, and what it makes can be compiled."""

from collections import Counter
from pathlib import Path

import pytest

from simulation.mutants import ENGINE, Mutation, mutate
from simulation.mutations import MUTATIONS


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_fits_the_engine_of_today(mutation: Mutation) -> None:
    """A text that is gone, or is there twice, would be a mutation that breaks nothing."""
    for file in {change.file for change in mutation.changes}:
        before = Path(ENGINE, file).read_text()

        after = mutate(before, file, mutation)

        assert after != before
        if file.endswith(".py"):
            compile(after, file, "exec")


def test_each_mutation_has_a_name_of_its_own() -> None:
    """They are told apart by their names, also in a table of what was found."""
    assert max(Counter(mutation.name for mutation in MUTATIONS).values()) == 1
