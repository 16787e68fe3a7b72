"""Settings in files, such as Docker's secrets, so that passwords need not be in the environment."""

from pathlib import Path

from aftercommit.errors import InvalidValue
from aftercommit.settings import EnvLookup


def env_from_file(find: EnvLookup) -> EnvLookup:
    """Let a variable with the suffix `_FILE` name a file that contains the value.

    Errors quote neither the content nor the path, because both may be secrets.
    """

    def find_or_read(variable: str) -> str | None:
        value, in_file = find(variable), f"{variable}_FILE"
        if not (file := find(in_file)):
            return value
        if value:
            raise InvalidValue(variable, f"and {in_file} are both set: set only one")
        try:
            if content := Path(file).read_text("utf-8").removesuffix("\n"):
                return content
            problem = "names an empty file"
        except UnicodeError:
            problem = "names a file that is not valid UTF-8"
        except OSError as error:
            problem = f"names a file that cannot be read: {error.strerror}"
        raise InvalidValue(in_file, problem)

    return find_or_read
