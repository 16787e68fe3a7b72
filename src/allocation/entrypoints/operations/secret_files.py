"""Settings in files, as Docker's secrets are: so passwords need not be in the environment."""

from pathlib import Path

from allocation.config import Find
from allocation.domain.exceptions import InvalidValue


def in_file_too(find: Find) -> Find:
    """Let a variable, its name followed by `_FILE`, name a file that has the value in it."""

    def find_or_read(variable: str) -> str | None:
        value, file = find(variable), find(f"{variable}_FILE")
        if value and file:
            raise InvalidValue(variable, f"and {variable}_FILE are both set: set only one")
        return _content(f"{variable}_FILE", file) if file else value

    return find_or_read


def _content(variable: str, file: str) -> str:
    """Return what is in a file.

    :raises InvalidValue: if it cannot be read, or is empty; neither it nor its path is repeated
    """
    try:
        content = Path(file).read_text("utf-8").removesuffix("\n")
    except UnicodeError:
        raise InvalidValue(variable, "names a file that is not valid UTF-8") from None
    except OSError as error:
        problem = f"names a file that cannot be read: {error.strerror}"
        raise InvalidValue(variable, problem) from None
    if not content:
        raise InvalidValue(variable, "names an empty file")
    return content
