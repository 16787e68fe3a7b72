"""What the engine offers has a name in `aftercommit` itself: all else may change."""

import inspect
from types import FunctionType

import aftercommit
import pytest

PUBLIC = {
    "AggregateStore",
    "App",
    "Application",
    "Codec",
    "CommandLine",
    "CommitOutcomeUnknown",
    "Conflict",
    "ConnectionLost",
    "Database",
    "Dependencies",
    "Report",
    "EngineSettings",
    "Envelope",
    "EnvelopeFactory",
    "Extension",
    "Extensions",
    "Failure",
    "Handlers",
    "History",
    "IdempotencyKey",
    "CompositeObserver",
    "ObservedPort",
    "InvalidValue",
    "Later",
    "MessageBus",
    "MessageOrigin",
    "NAMING_CONVENTION",
    "Observer",
    "Outbox",
    "Outcome",
    "PUBLISH",
    "Publisher",
    "Refusals",
    "Refused",
    "Repository",
    "Seconds",
    "Transaction",
    "TransientError",
    "Unavailable",
    "Unsubscribed",
    "Upcaster",
    "UtcDateTime",
    "WiringError",
    "bind",
    "command_line",
    "ensure_schema",
    "ensure_versions",
    "load",
    "message_types",
    "new_outbox",
    "on",
    "open_application",
    "open_database",
    "open_unit_of_work",
}


def test_a_public_name_more_is_a_decision() -> None:
    """Each has to be kept from then on."""
    assert set(vars(aftercommit)["__all__"]) == PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_each_is_there_and_says_what_it_is(name: str) -> None:
    """They are imported when they are first used, so a wrong list would go unnoticed."""
    offered = getattr(aftercommit, name)

    if inspect.isclass(offered) or isinstance(offered, FunctionType):
        assert inspect.getdoc(offered)


def test_what_is_not_offered_is_not_there() -> None:
    """Nor is it found by a star."""
    with pytest.raises(AttributeError, match="has no public name Worker"):
        getattr(aftercommit, "Worker")  # noqa: B009 - a type checker refuses it, too
