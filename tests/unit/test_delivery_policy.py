"""What comes after a failed attempt, and the life of a delivery as a table."""

from dataclasses import replace
from functools import partial
from uuid import UUID, uuid4

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from allocation.domain.exceptions import (
    AllocationError,
    Conflict,
    Malformed,
    Mistake,
    Refused,
    Unavailable,
    UserNotFound,
)
from allocation.service_layer.delivery import Delivery, DeliveryPolicy, is_permanent
from allocation.service_layer.envelopes import EventId, MessageContext
from tests.builders import POLICY, a_delivery, an_envelope
from tests.generated import all_errors
from tests.transitions import TRANSITIONS, State, Step

TEMPORARY = OSError("the mail server is down")
PERMANENT = UserNotFound("u1")

few = settings(max_examples=40, deadline=None)


@st.composite
def policies(draw: st.DrawFn) -> DeliveryPolicy:
    """Draw any policy that the settings allow and that retries at least once."""
    base = draw(st.floats(0.001, 10**9))
    return replace(
        POLICY,
        retry_base=base,
        retry_factor=draw(st.floats(1, 100)),
        retry_cap=draw(st.floats(base, 10**9)),
        max_attempts=draw(st.integers(2, 1000)),
    )


def longest_pause(policy: DeliveryPolicy, attempt: int) -> float:
    pause = policy.pause_after(attempt, TEMPORARY, random=lambda: 1.0)
    assert pause is not None
    return pause


def steps_out_of(state: State) -> set[Step]:
    return {step for (source, step) in TRANSITIONS if source is state}


def reachable_from(start: State) -> set[State]:
    reached = {start}
    while more := {end for (source, _), end in TRANSITIONS.items() if source in reached} - reached:
        reached |= more
    return reached


def test_the_pause_grows_up_to_the_cap_until_no_attempt_is_left() -> None:
    """A short outage is bridged at once; a long one is not hammered on; none is tried for ever."""
    policy = replace(POLICY, retry_base=1, retry_factor=4, retry_cap=3600, max_attempts=10)

    pauses = [policy.pause_after(n, TEMPORARY, random=lambda: 1.0) for n in range(1, 11)]

    assert pauses == [1, 4, 16, 64, 256, 1024, 3600, 3600, 3600, None]


def test_jitter_draws_the_pause_from_its_upper_half() -> None:
    """Deliveries that failed together would otherwise come back together, and fail again."""
    policy = replace(POLICY, retry_base=1, retry_factor=4, retry_cap=3600)

    shortest = policy.pause_after(3, TEMPORARY, random=lambda: 0.0)
    middle = policy.pause_after(3, TEMPORARY, random=lambda: 0.5)
    longest = policy.pause_after(3, TEMPORARY, random=lambda: 1.0)

    assert (shortest, middle, longest) == (8, 12, 16)


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

    pause = policy.pause_after(attempt, TEMPORARY, random=lambda: draw)

    assert pause is not None
    longest = longest_pause(policy, attempt)
    assert longest / 2 <= pause <= longest
    assert policy.retry_base <= longest <= policy.retry_cap


@given(policy=policies(), attempt=st.integers(1, 1000))
@few
def test_no_pause_is_shorter_than_the_one_before(policy: DeliveryPolicy, attempt: int) -> None:
    """Whoever has failed more often is asked less often."""
    later = min(attempt + 1, policy.max_attempts - 1)
    earlier = max(later - 1, 1)

    assert longest_pause(policy, earlier) <= longest_pause(policy, later)


@given(policy=policies(), beyond=st.integers(0, 1000))
@few
def test_after_the_last_attempt_the_delivery_is_parked(policy: DeliveryPolicy, beyond: int) -> None:
    """Also if the operator lowers the limit below what was already tried."""
    last, draw = policy.max_attempts + beyond, 1.0

    assert policy.pause_after(last, TEMPORARY, random=lambda: draw) is None


def test_a_policy_of_one_attempt_never_tries_again() -> None:
    """The smallest limit is the first place where counting from zero would show."""
    policy = replace(POLICY, max_attempts=1)

    assert policy.pause_after(1, TEMPORARY, random=lambda: 1.0) is None


def test_a_permanent_error_parks_the_delivery_at_once() -> None:
    """To try it again would only delay the moment somebody looks at it."""
    assert POLICY.pause_after(1, PERMANENT, random=lambda: 1.0) is None
    assert POLICY.pause_after(1, TEMPORARY, random=lambda: 1.0) is not None


KINDS: dict[type[AllocationError], bool] = {
    Malformed: True,
    Refused: True,
    Conflict: False,
    Unavailable: False,
    Mistake: False,  # the program may be mended by then
}
OTHERWISE = {"StatementRefused": True, "RightMissing": True}  # the database will say it again
TREE = all_errors()


def kinds_of(error: type[AllocationError]) -> list[type[AllocationError]]:
    return [kind for kind in KINDS if issubclass(error, kind)]


@pytest.mark.parametrize("error", TREE, ids=[error.__name__ for error in TREE])
def test_an_error_is_permanent_if_the_message_itself_is_the_problem(
    error: type[AllocationError],
) -> None:
    """A wrong yes loses an e-mail until somebody looks; a wrong no tries in vain for hours."""
    [kind] = kinds_of(error)

    assert is_permanent(error.__new__(error)) is OTHERWISE.get(error.__name__, KINDS[kind])


def test_an_error_of_no_kind_may_pass() -> None:
    """Nobody raises it: whoever adds an error decides by its kind whether trying again can help."""
    assert not is_permanent(AllocationError())


@pytest.mark.parametrize(
    "error", [OSError("connection refused"), TimeoutError(), ValueError("a bug"), KeyError("name")]
)
def test_an_error_that_is_not_ours_may_pass(error: Exception) -> None:
    """A server comes back, and a bug is mended by the next release: the e-mail still goes out."""
    assert not is_permanent(error)


@pytest.mark.parametrize("state", [state for state in State if state is not State.DONE])
def test_every_state_but_done_has_a_way_out(state: State) -> None:
    """A delivery that cannot move is an e-mail nobody will ever get."""
    assert steps_out_of(state)


@pytest.mark.parametrize("state", State)
def test_every_state_can_be_reached_from_the_commit(state: State) -> None:
    """A state that cannot be reached is a line of the table nobody needs."""
    assert state in reachable_from(State.NONE)


@pytest.mark.parametrize("state", State)
def test_every_state_can_reach_done(state: State) -> None:
    """No circle traps a delivery."""
    assert State.DONE in reachable_from(state)


@pytest.mark.parametrize("step", Step)
def test_every_step_can_be_taken(step: Step) -> None:
    """A step without a place in the table would be a rule nobody wrote down."""
    assert step in {taken for (_, taken) in TRANSITIONS}


def test_a_delivery_is_made_by_a_commit_and_never_unmade() -> None:
    """It is born leased by the process that commits, or due for the workers, also much later."""
    assert steps_out_of(State.NONE) == {Step.COMMIT, Step.COMMIT_FOR_WORKERS, Step.OWE_LATER}
    assert TRANSITIONS[State.NONE, Step.COMMIT] is State.LEASED
    assert TRANSITIONS[State.NONE, Step.COMMIT_FOR_WORKERS] is State.WAITING
    assert State.NONE not in TRANSITIONS.values()


def test_a_parked_delivery_is_moved_by_hand_only() -> None:
    """Somebody has to look at it first: that is what parking is for."""
    assert steps_out_of(State.PARKED) == {Step.RETRY, Step.DISCARD}


def test_what_is_done_is_done_again_by_hand_only() -> None:
    """It stays as history; nothing but a replay makes it due."""
    assert steps_out_of(State.DONE) == {Step.REPLAY}


@pytest.mark.parametrize("outcome", [Step.SUCCEED, Step.FAIL, Step.GIVE_UP])
def test_only_the_holder_of_the_lease_tells_how_an_attempt_ended(outcome: Step) -> None:
    """A late owner must not overwrite the work of a new one."""
    assert {source for (source, step) in TRANSITIONS if step is outcome} == {State.LEASED}


@pytest.mark.parametrize(
    ("steps", "end"),
    [
        ([Step.COMMIT, Step.SUCCEED], State.DONE),
        ([Step.COMMIT, Step.FAIL, Step.CLAIM, Step.SUCCEED], State.DONE),
        ([Step.COMMIT, Step.CLAIM, Step.SUCCEED], State.DONE),
        ([Step.COMMIT, Step.RELEASE, Step.CLAIM, Step.SUCCEED], State.DONE),
        ([Step.COMMIT, Step.GIVE_UP], State.PARKED),
        ([Step.COMMIT, Step.EXHAUST], State.PARKED),
        ([Step.COMMIT, Step.GIVE_UP, Step.RETRY, Step.CLAIM, Step.SUCCEED], State.DONE),
        ([Step.COMMIT, Step.GIVE_UP, Step.DISCARD], State.DONE),
        ([Step.OWE_LATER, Step.CLAIM, Step.SUCCEED], State.DONE),
        ([Step.COMMIT, Step.SUCCEED, Step.REPLAY, Step.CLAIM, Step.SUCCEED], State.DONE),
    ],
)
def test_the_table_tells_every_story_of_a_delivery(steps: list[Step], end: State) -> None:
    """These are the stories an operator sees; the table has to agree with them."""
    state = State.NONE

    for step in steps:
        state = TRANSITIONS[state, step]

    assert state is end


def test_the_committing_process_holds_the_first_attempt_of_every_handler() -> None:
    """It works on the event at once, in the order of the table of handlers."""
    envelope = an_envelope()

    claims = POLICY.first_attempts(envelope, ["send_welcome_email", "log_registration"])

    assert [(claim.handler, claim.attempt) for claim in claims] == [
        ("send_welcome_email", 1),
        ("log_registration", 1),
    ]
    assert all(claim.envelope is envelope for claim in claims)


def test_an_event_without_handlers_owes_nothing() -> None:
    """Not every fact has a reader."""
    assert POLICY.first_attempts(an_envelope(), []) == []


def test_what_is_left_to_workers_is_held_by_nobody() -> None:
    """Its deliveries are due for them at the commit."""
    policy = replace(POLICY, inline=False)

    assert policy.first_attempts(an_envelope(), ["send_welcome_email"]) == []


def test_every_attempt_has_the_same_idempotency_key() -> None:
    """It is how a mail server recognizes the e-mail it has already sent."""
    first = a_delivery(attempt=1)

    keys = {replace(first, attempt=attempt).idempotency_key for attempt in range(1, 11)}

    assert keys == {first.idempotency_key}


def test_no_two_debts_share_an_idempotency_key() -> None:
    """One of two e-mails would be taken for a repetition of the other, and swallowed."""
    envelope, another = an_envelope(), an_envelope()
    handlers = ["send_welcome_email", "log_registration"]

    debts = POLICY.first_attempts(envelope, handlers) + POLICY.first_attempts(another, handlers)

    assert len({debt.idempotency_key for debt in debts}) == 4


def test_the_idempotency_key_is_spelled_the_same_in_every_release() -> None:
    """An attempt before an update and one after it are still attempts at the same e-mail."""
    event_id = EventId(UUID("12345678-1234-5678-1234-567812345678"))
    envelope = replace(an_envelope(), id=event_id)

    (delivery,) = POLICY.first_attempts(envelope, ["send_welcome_email"])

    assert delivery.idempotency_key == "12345678-1234-5678-1234-567812345678:send_welcome_email"


def test_what_an_event_causes_belongs_to_the_same_story() -> None:
    """Following one id leads from the command to the last e-mail; the other leads one step back."""
    context = MessageContext(correlation_id=uuid4(), causation_id=uuid4())
    envelope = replace(an_envelope(), context=context)
    delivery = Delivery(envelope=envelope, handler="send_welcome_email", attempt=1)

    assert delivery.as_context == MessageContext(
        correlation_id=context.correlation_id,
        causation_id=envelope.id,
        handler="send_welcome_email",
    )


def test_all_attempts_take_as_long_as_the_pages_say() -> None:
    """README, docs/operations.md and config.py say 1¾ to 3½ hours: to a quarter of an hour."""
    for draw, hours in ((0.0, 1.75), (1.0, 3.5)):
        pauses = [
            POLICY.pause_after(attempt, TEMPORARY, random=partial(float, draw)) or 0
            for attempt in range(1, POLICY.max_attempts)
        ]

        assert round(sum(pauses) / 3600 * 4) / 4 == hours
