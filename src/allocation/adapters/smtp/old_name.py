"""What the mail URL was called when there were mail servers only."""

from collections.abc import Callable

from allocation.domain.exceptions import InvalidValue

NAME, OLD_NAME = "ALLOCATION_MAIL_URL", "ALLOCATION_SMTP_URL"


def by_old_name_too(find: Callable[[str], str | None]) -> Callable[[str], str | None]:
    """Find the mail URL under its old name, too: an update must not stop anybody's e-mails."""

    def find_both(variable: str) -> str | None:
        value = find(variable)
        if variable != NAME:
            return value
        old = find(OLD_NAME)
        if value and old and value != old:
            raise InvalidValue(NAME, f"and {OLD_NAME}, its old name, differ: set only one")
        return value or old

    return find_both
