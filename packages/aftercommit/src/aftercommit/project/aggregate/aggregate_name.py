"""The aggregate to make: its name in all forms, its fields and its commands."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Field:
    """A field of the aggregate: its kind, and whether its values are unique."""

    name: str
    kind: str
    is_unique: bool = False

    @property
    def type(self) -> str:
        """Return its type in Python."""
        return {"int": "int", "uuid": "UUID"}.get(self.kind, "str")


@dataclass(frozen=True)
class Verb:
    """A verb and its participle: `make` and `made`."""

    verb: str
    participle: str

    @property
    def camel(self) -> str:
        """Return it as a part of a class name."""
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
        """Return its name as a variable."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", self.name).lower()

    @property
    def words(self) -> str:
        """Return its name in a sentence."""
        return self.snake.replace("_", " ")

    @property
    def article(self) -> str:
        """Return the article for its name."""
        return "an" if self.snake[0] in "aeiou" else "a"

    @property
    def plural(self) -> str:
        """Its name in the plural, for tables and repositories."""
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
        """Return the fields whose values are unique."""
        return [each for each in self.fields if each.is_unique]

    @property
    def repeating(self) -> list[str]:
        """Return the commands that say the same word twice, such as BookBooking."""
        twice = (each for each in self.verbs if self.snake.startswith(each.verb))
        return [self.command(each) for each in twice]

    def command(self, verb: Verb) -> str:
        """Return the class name of a command."""
        return verb.camel + self.name

    def event(self, verb: Verb) -> str:
        """Return the class name of the event of a command."""
        return self.name + _camel(verb.participle)

    def query(self, verb: Verb) -> str:
        """Return the name of the query that tells whether one has ended by a command."""
        return f"is_{self.snake}_{verb.participle}"

    def handler(self, verb: Verb) -> str:
        """Return the name of a command's handler."""
        return f"{verb.verb}_{self.snake}"


def _camel(word: str) -> str:
    return "".join(part.capitalize() for part in word.split("_"))
