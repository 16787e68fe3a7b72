"""requirements.txt has all that the image needs from others, in the versions that were tested."""

import re
import sys

from aftercommit_tests.environments import OURS, needed_by
from packaging.utils import canonicalize_name

from tools.repository import ROOT
from tools.requirements import FILE, IMAGE

TEXT = FILE.read_text()
PINS = re.findall(
    r"^([\w.-]+)==([\w.]+)((?: ;[^\\]*)?) \\\n((?:    --hash=.*\n?)+)", TEXT, re.MULTILINE
)


def test_it_has_each_package_that_is_needed_as_it_was_tested() -> None:
    """One that is missing ends the installation; another version has been tried by nobody."""
    name, extra = IMAGE.rstrip("]").split("[")
    needed = {canonicalize_name(name) for name, _ in needed_by(name, extra, sys.path)} - OURS
    tested = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {
        f"{canonicalize_name(name)}=={number}"
        for name, number in (line.split("==") for line in tested if "==" in line)
    }

    assert len(needed) > 40
    assert needed - {name for name, *_ in PINS} == set(), "run: make requirements"
    assert {f"{name}=={number}" for name, number, *_ in PINS} - pinned == set(), (
        "run: make requirements"
    )


def test_each_file_is_known_by_its_hash_and_none_by_where_it_is() -> None:
    """So it may come from any index or mirror, and none of them can put in another one."""
    lines = {line.split(" ")[0] for line in TEXT.splitlines() if not line.startswith((" ", "#"))}

    assert lines == {f"{name}=={number}" for name, number, *_ in PINS}
    assert all(
        re.fullmatch(r"(    --hash=sha256:[0-9a-f]{64}(?: \\)?\n?)+", each[3]) for each in PINS
    )
    assert not re.search(r"://|^-", TEXT, re.MULTILINE)
