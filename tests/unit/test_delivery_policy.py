"""What comes after a failed attempt, and the life of a delivery as a table."""

import sys
from dataclasses import replace
from functools import partial
from uuid import UUID

import pytest
from aftercommit.claims import Claim, DeliveryPolicy
from aftercommit.envelopes import EventId
from aftercommit.errors import (
    Error,
    HandlerTimeout,
    Kind,
    LeaseExpired,
    Unavailable,
    has_kind,
    is_permanent,
    kind_of,
    slug_of,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.builders import POLICY, a_delivery, an_envelope
from tests.project.generated import all_errors
from tests.things import ThingNotFound
from tests.transitions import TRANSITIONS, State, Step

TEMPORARY = OSError("the mail server is down")
PERMANENT = ThingNotFound("t1")

few = settings(max_examples=40, deadline=None)


@st.composite
def policies(draw: st.DrawFn) -> DeliveryPolicy:
    """Draw any policy that the settings allow and that retries at least once."""
    base = draw(st.floats(0.001, 10**9))
    return replace(
        POLICY,
        retry_initial_seconds=base,
        retry_factor=draw(st.floats(1, 100)),
        retry_max_seconds=draw(st.floats(base, 10**9)),
        max_attempts=draw(st.integers(2, 1000)),
    )


def longest_pause(policy: DeliveryPolicy, attempt: int) -> float:
    pause = policy.retry_delay(a_delivery(attempt=attempt), TEMPORARY, random=lambda: 1.0)
    assert pause is not None
    return pause


def reachable_from(start: State) -> set[State]:
    reached = {start}
    while more := {end for (source, _), end in TRANSITIONS.items() if source in reached} - reached:
        reached |= more
    return reached


def test_the_pause_grows_up_to_the_cap_until_no_attempt_is_left() -> None:
    """A short outage is bridged at once; a long one is not hammered on; none is tried for ever."""
    policy = replace(
        POLICY, retry_initial_seconds=1, retry_factor=4, retry_max_seconds=3600, max_attempts=10
    )

    attempts = [a_delivery(attempt=n) for n in range(1, 11)]
    pauses = [policy.retry_delay(each, TEMPORARY, random=lambda: 1.0) for each in attempts]

    assert pauses == [1, 4, 16, 64, 256, 1024, 3600, 3600, 3600, None]


def test_jitter_draws_the_pause_from_its_upper_half() -> None:
    """Deliveries that failed together would otherwise come back together, and fail again."""
    policy = replace(POLICY, retry_initial_seconds=1, retry_factor=4, retry_max_seconds=3600)

    delay = partial(policy.retry_delay, a_delivery(attempt=3), TEMPORARY)
    pauses = [delay(random=partial(float, draw)) for draw in (0.0, 0.5, 1.0)]

    assert pauses == [8, 12, 16]


@given(policy=policies(), attempt=st.integers(1, 1000), draw=st.floats(0, 1))
@example(
    policy=replace(POLICY, retry_factor=100.0, max_attempts=1000), attempt=999, draw=1.0
)  # 100**998 does not fit into a float
@few
def test_every_pause_lies_in_the_upper_half_below_the_cap(
    policy: DeliveryPolicy, attempt: int, draw: float
) -> None:
    """No setting makes us hammer on a server, or wait longer than the operator said."""
    attempt = min(attempt, policy.max_attempts - 1)

    pause = policy.retry_delay(a_delivery(attempt=attempt), TEMPORARY, random=lambda: draw)

    assert pause is not None
    longest = longest_pause(policy, attempt)
    assert longest_pause(policy, max(attempt - 1, 1)) <= longest  # more often failed, less asked
    assert longest / 2 <= pause <= longest
    assert policy.retry_initial_seconds <= longest <= policy.retry_max_seconds


@given(policy=policies(), beyond=st.integers(0, 1000))
@example(policy=replace(POLICY, max_attempts=1), beyond=0)  # where counting from zero would show
@few
def test_after_the_last_attempt_the_delivery_is_parked(policy: DeliveryPolicy, beyond: int) -> None:
    """Also if the operator lowers the limit below what was already tried."""
    last = a_delivery(attempt=policy.max_attempts + beyond)

    assert policy.retry_delay(last, TEMPORARY, random=lambda: 1.0) is None


def test_a_permanent_error_parks_the_delivery_at_once() -> None:
    """To try it again would only delay the moment somebody looks at it."""
    assert POLICY.retry_delay(a_delivery(), PERMANENT, random=lambda: 1.0) is None
    assert POLICY.retry_delay(a_delivery(), TEMPORARY, random=lambda: 1.0) is not None


IS_PERMANENT: dict[Kind, bool] = {
    "invalid": True,
    "refused": True,
    "conflict": False,
    "transient": False,
    "unavailable": False,
    "defect": False,  # the program may be mended by then
}
OTHERWISE = {
    "StatementRefused": True,
    "PermissionDenied": True,
    "UnsuitableDatabase": True,  # the database will say it again
    "CausationTooDeep": True,  # to try it again would only go on in a circle
}
TREE = all_errors()


@pytest.mark.parametrize("error", TREE, ids=[error.__name__ for error in TREE])
def test_an_error_is_permanent_if_the_message_itself_is_the_problem(
    error: type[Exception],
) -> None:
    """A wrong yes loses an e-mail until somebody looks; a wrong no tries in vain for hours."""
    usual = IS_PERMANENT[kind_of(error)]

    assert is_permanent(error.__new__(error)) is OTHERWISE.get(error.__name__, usual)


def errors_of_the_application() -> list[type[Exception]]:
    """Return all errors that its modules define, whatever their base."""
    found = [
        each
        for name, module in sys.modules.items()
        if name.startswith(("aftercommit.", "allocation."))
        for each in vars(module).values()
        if isinstance(each, type)
    ]
    ours = {
        each
        for each in found
        if issubclass(each, Exception)
        and each is not Error
        and each.__module__.startswith(("aftercommit.", "allocation."))
    }
    return sorted(ours, key=lambda error: error.__qualname__)


UNTOLD = {"ConfirmTimeoutError", "MessageRefusedError"}  # as an OSError, they are no bugs


def test_every_error_of_the_application_has_a_known_kind() -> None:
    """One without a kind would be taken for a bug: another exit code, 500, and no dead letter."""
    untold = {error.__name__ for error in errors_of_the_application() if not has_kind(error)}

    assert untold == UNTOLD
    assert {error for error in errors_of_the_application() if has_kind(error)} == set(TREE)


def test_machines_know_each_error_by_a_name_of_its_own() -> None:
    """What has the same name, such as a value that a model and the engine refuse, is one thing."""
    meanings: dict[str, set[tuple[str, Kind]]] = {}
    for error in TREE:
        meanings.setdefault(slug_of(error), set()).add((error.__name__, kind_of(error)))

    assert [slug for slug, meaning in meanings.items() if len(meaning) > 1] == []
    twice = [error.__name__ for error in TREE if [*map(slug_of, TREE)].count(slug_of(error)) > 1]
    assert set(twice) == {"InvalidValue"}


@pytest.mark.parametrize("kind", ["no such kind", None, 7])
def test_an_unknown_kind_is_that_of_a_bug(kind: object) -> None:
    """Others name attributes as they like: an error of theirs is no promise of ours."""
    theirs = type("TheirError", (Exception,), {"error_kind": kind})()

    assert not has_kind(theirs)
    assert kind_of(theirs) == "defect"


@pytest.mark.parametrize(
    "error",
    [Error(), OSError("connection refused"), TimeoutError(), KeyError("a bug")],
)
def test_an_error_of_no_kind_may_pass(error: Exception) -> None:
    """A server comes back, and a bug is fixed by the next release: the e-mail still goes out."""
    assert not is_permanent(error)


def test_the_table_of_transitions_has_no_trap_and_nothing_that_cannot_happen() -> None:
    """A delivery that cannot move, or only in a circle, is an e-mail nobody will ever get."""
    assert reachable_from(State.NONE) == set(State)
    assert [state for state in State if State.DONE not in reachable_from(state)] == []
    assert {step for _, step in TRANSITIONS} == set(Step)


def test_a_resource_that_is_away_is_never_parked_by_counting() -> None:
    """A mail server that is away over a weekend must not leave thousands for a person."""
    away = Unavailable("connection refused")
    first, last = a_delivery(), a_delivery(attempt=POLICY.max_attempts)

    def delay(delivery: Claim, times: int) -> float | None:
        waiting = replace(delivery, unavailable_attempts=times)
        return POLICY.retry_delay(waiting, away, random=lambda: 1.0)

    assert [delay(first, times) for times in range(4)] == [1.0, 4.0, 16.0, 64.0]
    assert delay(last, 10_000) == POLICY.retry_max_seconds


@pytest.mark.parametrize("error", [HandlerTimeout("h", 1.0), LeaseExpired("h"), TimeoutError()])
def test_what_may_be_the_fault_of_the_handler_counts(error: Exception) -> None:
    """A handler that is always too slow would otherwise be tried for ever."""
    last = a_delivery(attempt=POLICY.max_attempts)

    assert POLICY.retry_delay(last, error, random=lambda: 1.0) is None


def test_an_idempotency_key_is_the_same_in_each_attempt_and_no_other_delivery() -> None:
    """It is how a mail server recognizes the e-mail that it has already sent, and no other."""
    handlers = ["send_letter", "write_down"]
    both = [an_envelope(), an_envelope()]
    claims = [Claim(envelope=e, handler=name, attempt=1) for e in both for name in handlers]

    keys = {replace(claim, attempt=n).idempotency_key for claim in claims for n in range(1, 11)}

    assert keys == {claim.idempotency_key for claim in claims}
    assert len(keys) == 4


def test_the_idempotency_key_is_spelled_the_same_in_every_release() -> None:
    """An attempt before an update and one after it are still attempts at the same e-mail."""
    event_id = EventId(UUID("12345678-1234-5678-1234-567812345678"))
    envelope = replace(an_envelope(), id=event_id)

    delivery = Claim(envelope=envelope, handler="send_letter", attempt=1)

    assert delivery.idempotency_key == "12345678-1234-5678-1234-567812345678:send_letter"


def test_all_attempts_take_as_long_as_the_pages_say() -> None:
    """README, docs/operations.md and config.py say 1¾ to 3½ hours: to a quarter of an hour."""
    for draw, hours in ((0.0, 1.75), (1.0, 3.5)):
        pauses = [
            POLICY.retry_delay(a_delivery(attempt=n), TEMPORARY, random=partial(float, draw)) or 0
            for n in range(1, POLICY.max_attempts)
        ]

        assert round(sum(pauses) / 3600 * 4) / 4 == hours
