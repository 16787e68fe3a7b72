"""What the example has taken over from the template of new projects, and has changed since.

    python -m checks.loyalty.taken_over

Of each file that it has changed or left out, `taken_over.json` has the hash of what a new project
has there. When the template changes such a file, a test fails: somebody has to look whether the
example needs the change, too, and then writes the new hashes, by this command.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from aftercommit.project import new_project

from tools.repository import ROOT

EXAMPLE = ROOT / "examples" / "loyalty"
TAKEN_OVER = Path(__file__).with_suffix(".json")


def differences() -> Mapping[str, str]:
    """Return the hashes of those files of a new project that the example has otherwise, or not."""
    with TemporaryDirectory() as folder:
        project = Path(folder) / EXAMPLE.name
        made = new_project(project, ["--brokers"])
        fresh = {str(each.relative_to(project)): each.read_bytes() for each in made}
    return {
        name: hashlib.sha256(content).hexdigest()[:16]
        for name, content in sorted(fresh.items())
        if name != "README.md"  # which is for another reader
        and not ((EXAMPLE / name).exists() and (EXAMPLE / name).read_bytes() == content)
    }


if __name__ == "__main__":
    TAKEN_OVER.write_text(json.dumps(differences(), indent=2) + "\n")
