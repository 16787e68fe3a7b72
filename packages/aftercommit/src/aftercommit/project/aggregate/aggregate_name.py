"""An aggregate that is to be made: its name in all forms, its fields and its commands."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Field:
    """What an aggregate says of itself: of a kind, and perhaps with no value twice."""

    name: str
    kind: str
    is_unique: bool = False

    @property
    def type(self) -> str:
        """Return its type, in Python."""
        return {"int": "int", "uuid": "UUID"}.get(self.kind, "str")


@dataclass(frozen=True)
class Verb:
    """A verb and its participle: `make` and `made`."""

    verb: str
    participle: str

    @property
    def camel(self) -> str:
        """Return it as a part of the name of a class."""
        return _camel(self.verb)

    @property
    def title(self) -> str:
        """Return it as the first word of a sentence."""
        return self.verb.capitalize().replace("_", " ")


@dataclass(frozen=True)
class Aggregate:
    """The names that follow from one name."""

    name: str
    fields: tuple[Field, ...]
    verbs: tuple[Verb, ...]

    @property
    def snake(self) -> str:
        """Return the name of one in a function."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", self.name).lower()

    @property
    def words(self) -> str:
        """Return what it is called in a sentence."""
        return self.snake.replace("_", " ")

    @property
    def article(self) -> str:
        """Return what stands before its words."""
        return "an" if self.snake[0] in "aeiou" else "a"

    @property
    def plural(self) -> str:
        """As tables and repositories are called."""
        word = self.snake
        if re.search(r"[^aeiou]y$", word):
            return f"{word[:-1]}ies"
        return f"{word}es" if re.search(r"(s|x|z|ch|sh)$", word) else f"{word}s"

    @property
    def key(self) -> str:
        """Return the name of its id in messages."""
        return f"{self.snake}_id"

    @property
    def first(self) -> Verb:
        """Return the command that makes one."""
        return self.verbs[0]

    @property
    def later(self) -> tuple[Verb, ...]:
        """Return the commands that end one."""
        return self.verbs[1:]

    @property
    def unique(self) -> list[Field]:
        """Return the fields of which no two have the same value."""
        return [each for each in self.fields if each.is_unique]

    def command(self, verb: Verb) -> str:
        """Return the name of the class of a command."""
        return verb.camel + self.name

    def event(self, verb: Verb) -> str:
        """Return the name of the class of the event that a command leads to."""
        return self.name + _camel(verb.participle)

    def handler(self, verb: Verb) -> str:
        """Return the name of the handler of a command."""
        return f"{verb.verb}_{self.snake}"


def _camel(word: str) -> str:
    return "".join(part.capitalize() for part in word.split("_"))
