"""Runs a web application until its worker is about to claim something, and kills it there.

python -m aftercommit_tests.outbox.processes.dying PORT
"""

import sys

import uvicorn

from aftercommit_tests.crashing import arm

if __name__ == "__main__":
    arm("before the first claim")
    sys.path.insert(0, "")
    uvicorn.run("main:app", port=int(sys.argv[1]), log_level="warning")
