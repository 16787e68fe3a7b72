"""The steps in docs/steps: each loses or doubles what it says, and mends what it says."""

import re
from pathlib import Path

import pytest

from tests.project.measured import measured
from tests.project.steps import PAGE, STEPS, masked, run, shown

WHAT_HAPPENS = {
    "1_bus": {
        "Before": ["entries in the log 0, coupons 0", "the caller gets an error"],
        "Now": ["entries in the log 1, coupons 1", "a handler has failed, the others go on"],
    },
    "2_unit_of_work": {
        "Before": ["users 0, e-mails ['Welcome']"],
        "The book": ["users 1, e-mails ['Welcome', 'Your coupon']"],
        "Now": ["users 1, e-mails ['Welcome']"],
    },
    "3_outbox": {
        "Before": ["SIGKILL", "users 1, e-mails 0, pending 0"],
        "Or the other way round": ["SIGKILL", "users 0, e-mails 1, pending 0"],
        "Now": ["SIGKILL", "users 1, e-mails 0, pending 1", "users 1, e-mails 1, pending 0"],
    },
    "4_leases": {
        "Before": ["has done all: e-mails 2", "has gone on: e-mails 2"],
        "With a lease": ["has done all: e-mails 1", "has gone on: e-mails 2"],
        "Now": ["has done all: e-mails 1", "too late", "has gone on: e-mails 1"],
    },
    "5_exactly_once": {
        "Before": [
            "SIGKILL, worker 2 has come: coupons 2",
            "SIGSTOP, worker 2 has come: coupons 2",
        ],
        "Now": [
            "SIGKILL, worker 2 has come: coupons 1",
            "too late",
            "SIGSTOP, worker 2 has come: coupons 1",
        ],
    },
    "6_inbox": {
        "Before": [
            "no answer: SIGKILL",
            "the same command again: done",
            "users 4, e-mails pending 4",
        ],
        "Now": [
            "no answer: SIGKILL",
            "the same command again: done before",
            "users 2, e-mails pending 2",
        ],
    },
    "7_application": {
        "As in steps 1 and 2": [
            "send_welcome_email",
            "users 1, log 1, coupons 1, pending 0, e-mails 2",
        ],
        "As in step 3": ["users 2, log 2, coupons 2, pending 0, e-mails 4"],
        "As in steps 4 and 5": ["users 3, log 3, coupons 3, pending 0, e-mails 6", "LeaseExpired"],
        "As in step 6": ["handled already", "users 4, log 4, coupons 4, pending 0, e-mails 8"],
    },
}


def scenes(printed: str) -> dict[str, str]:
    """Return what is indented below each line, by what that line begins with."""
    parts = re.findall(r"^(\S[^:,\n]*).*\n((?:  .*\n)*)", printed, re.M)
    return dict(parts)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.stem)
def test_a_step_does_what_its_page_says(step: Path, tmp_path: Path) -> None:
    """What was lost or doubled before, and what is not now. Else: python -m tests.project.steps."""
    printed = run(step, tmp_path)
    found = scenes(printed)

    for scene, facts in WHAT_HAPPENS[step.stem].items():
        for fact in facts:
            assert fact in found[scene], (scene, found)
    assert printed.splitlines()[-1].startswith("Stop here if ")
    assert masked(shown(step, printed)) == masked(measured(step.stem, PAGE))


def test_every_step_is_looked_at() -> None:
    """One that nobody expects anything of could print anything."""
    assert [step.stem for step in STEPS] == list(WHAT_HAPPENS)
