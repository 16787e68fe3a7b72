"""Makes an aggregate in a project, with everything that belongs to it, and tests.

    aftercommit new-aggregate Referral email note --commands "make:made withdraw:withdrawn"

`own_files.py` makes its own files, and `entries.py` what is added to existing ones. Conflicts are
found before anything is written.
"""

import keyword
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aftercommit.errors import InvalidValue
from aftercommit.project.aggregate import entries, own_files
from aftercommit.project.aggregate.aggregate_name import Aggregate, Field, Verb
from aftercommit.project.aggregate.project_layout import Layout
from aftercommit.project.aggregate.source_edits import Source

DEFAULT_FIELDS = ("name",)
DEFAULT_COMMANDS = "create:created cancel:cancelled"
CAMEL = re.compile(r"([A-Z][a-z0-9]+)+")
SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
TAKEN = {
    "id",
    "version",
    "state",
    "subject",
    "record",
    "pull_events",
    "recorded_events",
}
MAX_NAME, MAX_VERB = 20, 10  # characters: lines have to fit
KINDS = ("text", "email", "int", "uuid")


@dataclass(frozen=True)
class Made:
    """The written files: new ones, and those with new entries."""

    new: Sequence[Path]
    changed: Sequence[Path]
    repeating: Sequence[str] = ()
    """The commands that say the same word twice, such as BookBooking."""


def new_aggregate(
    folder: Path,
    name: str,
    fields: Sequence[str] = DEFAULT_FIELDS,
    commands: str = DEFAULT_COMMANDS,
) -> Made:
    """Make an aggregate in the project in a folder.

    `fields` have the form NAME, NAME:KIND or NAME:KIND:unique. Each of `commands` is a verb and its
    participle, as in "make:made"; the first one makes an aggregate, and each other one ends it.

    :raises InvalidValue: if a name cannot be used, if something exists already, or if a file of the
        project is not as expected; then nothing is written
    """
    aggregate = read(name, fields, commands)
    layout = Layout.of(folder)
    layout.ensure_new(aggregate)
    texts = own_files.new_files(aggregate, layout)
    if taken := [str(each) for each in texts if (folder / each).exists()]:
        raise InvalidValue(", ".join(taken), "already exists. Nothing was written")
    new = {path: Source(path, text) for path, text in texts.items()}
    changed = entries.entries(aggregate, layout)
    made = {path: _formatted(layout, source, "F401", "I") for path, source in new.items()}
    written = made | {path: _formatted(layout, each, "I") for path, each in changed.items()}
    for path, text in written.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return Made([*new], [*changed], aggregate.repeating)


def read(name: str, fields: Sequence[str], commands: str) -> Aggregate:
    """Return what the words of a command line mean.

    :raises InvalidValue: if they mean nothing
    """
    if SNAKE.fullmatch(name):
        name = "".join(part.capitalize() for part in name.split("_"))
    if not CAMEL.fullmatch(name) or keyword.iskeyword(name.lower()) or len(name) > MAX_NAME:
        rule = f"has to look like Referral or GiftCard, with at most {MAX_NAME} characters"
        raise InvalidValue(f"the name {name!r}", rule)
    verbs = [_verb(each) for each in commands.split()]
    if not verbs or len({*verbs}) < len(verbs):
        raise InvalidValue(
            f"the commands {commands!r}", 'have to look like "make:made withdraw:withdrawn"'
        )
    read_fields = [_field(each) for each in fields or DEFAULT_FIELDS]
    own = Aggregate(name, tuple(read_fields), tuple(verbs))
    names = [each.name for each in read_fields]
    if twice := sorted({each for each in names if names.count(each) > 1 or each == own.key}):
        raise InvalidValue(f"the field {twice[0]}", "is given twice")
    methods = {verb.verb for verb in verbs}
    if clash := sorted(({*names} | TAKEN) & methods):
        raise InvalidValue(f"the command {clash[0]}", "is the name of something else in the class")
    return own


def _verb(text: str) -> Verb:
    verb, _, participle = text.partition(":")
    _refuse_keywords(f"the command {text!r}", verb, participle)
    is_short = max(len(verb), len(participle)) <= MAX_VERB
    if not all(map(_is_free, (verb, participle))) or verb == participle or not is_short:
        rule = f'has to be like "make:made", with at most {MAX_VERB} characters each'
        raise InvalidValue(f"the command {text!r}", rule)
    return Verb(verb, participle)


def _field(text: str) -> Field:
    name, *said = text.split(":")
    is_unique = "unique" in said
    kinds = [each for each in said if each != "unique"]
    _refuse_keywords(f"the field {text!r}", name)
    if not _is_free(name) or name in TAKEN or len(kinds) > 1 or not {*kinds} <= {*KINDS}:
        rule = (
            f"is not NAME, NAME:KIND or NAME:KIND:unique, with one of the kinds {', '.join(KINDS)}"
        )
        raise InvalidValue(f"the field {text!r}", rule)
    return Field(name, kinds[0] if kinds else _kind_of(name), is_unique)


def _kind_of(name: str) -> str:
    if name.endswith("_id"):
        return "uuid"
    return "email" if name.split("_")[-1] == "email" else "text"


def _refuse_keywords(what: str, *names: str) -> None:
    for name in names:
        if keyword.iskeyword(name) or keyword.issoftkeyword(name):
            raise InvalidValue(
                what, f"has {name}, a word of Python: use another, such as {name}_it"
            )


def _is_free(name: str) -> bool:
    return bool(SNAKE.fullmatch(name)) and len(name) <= MAX_NAME


def _formatted(layout: Layout, source: Source, *rules: str) -> str:
    """Return the source in the project's style, with its imports in order."""
    if source.path.suffix != ".py":
        return source.text
    text = source.text
    ours = f"lint.isort.known-first-party = ['{layout.package}']"  # also of unwritten files
    fixing = [["check", "--select", rule, "--fix", "--config", ours] for rule in rules]
    for words in (*fixing, ["format"]):
        command = [sys.executable, "-m", "ruff", *words, "--quiet"]
        command += ["--stdin-filename", str(source.path), "-"]
        ran = subprocess.run(command, cwd=layout.folder, input=text, capture_output=True, text=True)
        if ran.returncode != 0:
            problem = ran.stderr or ran.stdout
            raise InvalidValue(str(source.path), f"could not be formatted by ruff: {problem}")
        text = ran.stdout
    return text
