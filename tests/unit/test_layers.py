"""What docs/testing.md says of each layer."""

from collections import Counter

import pytest

from tests.layers import layer_of, recorded
from tests.matrix import LAYERS

TOLERANCE = 0.1


def test_the_table_of_the_layers_is_about_right(request: pytest.FixtureRequest) -> None:
    """If this fails, run: make test RECORD=1. Where not all was asked for, there is no telling."""
    collected = Counter(layer_of(test.nodeid) for test in request.session.items)
    chosen = request.config.option.keyword or request.config.option.in_full
    if set(collected) >= set(LAYERS) and not chosen:
        written = recorded()
        assert {layer: collected[layer] for layer in written} == pytest.approx(
            written, rel=TOLERANCE
        )
    assert set(recorded()) >= set(LAYERS)
