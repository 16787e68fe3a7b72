"""Who imports whom: what docs/architecture.md shows is so, and has no circle and no way up."""

from pathlib import Path

import pytest

from tests import import_graph
from tests.import_graph import PACKAGES, ROOMS, boxes, circle, inside, modules, reduced, upward


def test_no_import_leads_up_or_into_a_room() -> None:
    """A layer knows only what is below it; nobody knows a room but the room itself."""
    assert upward() == []


def test_no_module_imports_itself_in_a_roundabout_way() -> None:
    """What stands in a circle can be neither read nor taken out alone."""
    assert circle(modules()) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_picture_of_a_layer_has_a_circle(package: str) -> None:
    """A package in a layer is one box: two of them that know each other are a circle, too."""
    assert circle(inside(package)) == []


def test_the_picture_of_the_layers_has_no_circle() -> None:
    """As above."""
    graph = boxes()

    assert graph.keys() >= {*PACKAGES, *ROOMS}
    assert circle(graph) == []


def test_an_import_is_found_wherever_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hidden in a function, or made for the type checker only, it is one all the same."""
    sources = {
        "domain/low.py": "def f():\n    from allocation.entrypoints import high\n",
        "entrypoints/high.py": "import allocation.domain.low\n",
        "adapters/attic/room.py": "from allocation.domain.low import f\n",
        "adapters/core.py": "if TYPE_CHECKING:\n    from allocation.adapters.attic import room\n",
    }
    for name, source in sources.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    monkeypatch.setattr(import_graph, "ALLOCATION", tmp_path)
    monkeypatch.setattr(import_graph, "ROOMS", {"adapters.attic"})

    assert sorted(upward()) == [
        "adapters.core → adapters.attic.room",
        "domain.low → entrypoints.high",
    ]
    assert set(circle(modules())) == {"domain.low", "entrypoints.high"}


def test_only_arrows_that_follow_from_others_are_left_out() -> None:
    """Otherwise the picture would lie."""
    graph = {"a": {"b", "c", "d"}, "b": {"c"}, "c": set[str](), "d": set[str]()}

    assert reduced(graph) == {"a": ["b", "d"], "b": ["c"], "c": [], "d": []}
