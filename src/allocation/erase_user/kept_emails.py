"""The e-mails to a person that are kept in a folder, on this machine. See `erasure.py`."""

from email.parser import BytesHeaderParser
from email.policy import default
from pathlib import Path

from allocation.erase_user.erasure import Person, comparable

_HEADERS = BytesHeaderParser(policy=default.clone(utf8=True))


def remove_emails(folder: Path, person: Person) -> int:
    """Remove the e-mails to a user that are kept in a folder; return how many there were."""
    kept = [file for part in ("tmp", "new", "cur") for file in (folder / part).glob("*")]
    ids, addresses = person.event_ids, person.addresses
    found = [file for file in kept if file.name[:36] in ids or _recipient(file) in addresses]
    for file in found:
        file.unlink(missing_ok=True)
    return len(found)


def _recipient(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            return comparable(str(_HEADERS.parse(opened)["To"]))
    except FileNotFoundError:  # read or removed by somebody just now
        return None
