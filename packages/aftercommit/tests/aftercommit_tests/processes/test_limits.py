"""Limits of workers that are killed and frozen, in small: `limits_under_faults` is large."""

import subprocess
import sys

import pytest

from aftercommit_tests.processes import limits_under_faults

pytestmark = pytest.mark.check


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_workers_that_die_and_freeze_keep_a_limit(kind: str) -> None:
    """The partner counts what runs at once, and the database the claims; nothing is lost."""
    trial = [sys.executable, "-m", limits_under_faults.MODULE, kind, "--small"]
    ran = subprocess.run(trial, capture_output=True, text=True)

    assert ran.returncode == 0, ran.stdout + ran.stderr
