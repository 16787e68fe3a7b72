"""A disk that is really full: a small file system of memory, which only one child process sees."""

import os
import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest

from aftercommit_tests.warm import SOURCES

pytestmark = [pytest.mark.on("asyncio"), pytest.mark.check]

LIMIT_SECONDS = 400
NAMESPACE = ["unshare", "--mount"] + ([] if os.geteuid() == 0 else ["--map-root-user"])


@pytest.mark.skipif(
    not which("unshare") and os.environ.get("CI") != "true",
    reason="only Linux lets a process have a file system of its own",
)
def test_a_full_disk_uses_up_no_attempt(tmp_path: Path, backend: str) -> None:
    """Nothing can be stored for two leases, and each attempt is the last: none is parked."""
    folder = tmp_path / "small"
    folder.mkdir()
    module = [sys.executable, "-m", "aftercommit_tests.processes.full_disk", str(folder), backend]

    run = subprocess.run(
        [*NAMESPACE, *module],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
        env=os.environ | {"PYTHONPATH": SOURCES},
    )

    assert run.returncode == 0, run.stderr
    *deliveries, last = run.stdout.splitlines()
    assert last.startswith("failure: DatabaseUnavailable: ")
    done = [line for line in deliveries if not line.startswith("failure: ")]
    assert {line.partition(": ")[2] for line in done} == {"attempts 1, done"}
