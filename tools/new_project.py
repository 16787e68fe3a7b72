"""Makes a project on the engine while there is no release of it: with wheels in `vendor`.

make new DIR=../shop OPTIONS="--http --brokers"
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from aftercommit.__main__ import new

PACKAGES = [Path("packages/sqlalchemy-anyio"), Path("packages/aftercommit")]

if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        for package in PACKAGES:
            command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
            subprocess.run(command, cwd=package, check=True, capture_output=True)
        new([*sys.argv[1:], "--wheels", folder], prog_name="make new")
