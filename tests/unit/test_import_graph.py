"""The pictures of docs/architecture.md, which import-linter's contracts prove to have no circle."""

from tests.import_graph import reduced


def test_only_arrows_that_follow_from_others_are_left_out() -> None:
    """Otherwise the picture would lie."""
    graph = {"a": {"b", "c", "d"}, "b": {"c"}, "c": set[str](), "d": set[str]()}

    assert reduced(graph) == {"a": ["b", "d"], "b": ["c"], "c": [], "d": []}
