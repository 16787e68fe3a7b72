"""Finds where things are in a project, by what its files define, not by a setting."""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aftercommit.errors import InvalidValue
from aftercommit.project.aggregate.aggregate_name import Aggregate
from aftercommit.project.aggregate.source_edits import Source

BASES = ("Command", "Event", "Aggregate", "RuleViolation", "InvalidValue")
NEEDED = (
    "service_layer/handlers.py",
    "service_layer/unit_of_work.py",
    "adapters/orm.py",
    "adapters/repositories.py",
    "views.py",
    "bootstrap.py",
    "config.py",
    "entrypoints/app.py",
)


@dataclass(frozen=True)
class Layout:
    """The package of a project, and the modules that define its classes."""

    folder: Path
    package: str
    defined: Mapping[str, str] = field(repr=False)
    """The name of each class → the module that defines it."""

    @classmethod
    def of(cls, folder: Path) -> "Layout":
        """Return the layout of the project in a folder.

        :raises InvalidValue: if there is no project, or if its files are not like those of a new
            one
        """
        found = [each.parent for each in sorted(folder.glob("src/*/service_layer"))]
        if len(found) != 1:
            rule = "is not the folder of a project: it has no src/NAME/service_layer"
            raise InvalidValue(str(folder.resolve()), rule)
        [source] = found
        if missing := [each for each in NEEDED if not (source / each).exists()]:
            raise InvalidValue(f"{source}/{missing[0]}", "does not exist. Nothing was written")
        classes: dict[str, str] = {}
        for file in sorted(source.rglob("*.py")):
            module = ".".join(file.relative_to(folder / "src").with_suffix("").parts)
            tree = Source(file.relative_to(folder), file.read_text(encoding="utf-8")).tree
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    classes.setdefault(node.name, module)
        if missing := [each for each in BASES if each not in classes]:
            raise InvalidValue(f"{source}/domain", f"defines no class {missing[0]}")
        return cls(folder, source.name, classes)

    def ensure_new(self, aggregate: Aggregate) -> None:
        """Refuse an aggregate with a name that already exists.

        :raises InvalidValue: if a class, a table or a handler already has such a name
        """
        own = [aggregate.name, *map(aggregate.command, aggregate.verbs)]
        own += map(aggregate.event, aggregate.verbs)
        if taken := [each for each in own if each in self.defined]:
            where = self.defined[taken[0]]
            raise InvalidValue(
                f"the class {taken[0]}", f"is already in {where}. Nothing was written"
            )
        tables = self.source("adapters/orm.py").text
        if re.search(rf"^{aggregate.plural}\b", tables, re.MULTILINE):
            problem = "is already in adapters/orm.py. Nothing was written"
            raise InvalidValue(f"the name {aggregate.plural}", problem)

    def path(self, name: str) -> Path:
        """Return the path of a file of the package."""
        return Path("src") / self.package / name

    def has(self, name: str) -> bool:
        """Tell whether the package has this file or folder."""
        return (self.folder / self.path(name)).exists()

    def source(self, name: str) -> Source:
        """Return a file of the package."""
        return self.at(self.path(name))

    def at(self, path: Path) -> Source:
        """Return a file of the project."""
        return Source(path, (self.folder / path).read_text(encoding="utf-8"))

    def module_of(self, class_: str) -> str:
        """Return the module that defines a class."""
        return self.defined[class_]

    @property
    def has_subject(self) -> bool:
        """Whether the base of aggregates knows what an aggregate's events are about."""
        path = Path("src", *self.module_of("Aggregate").split(".")).with_suffix(".py")
        base = next(
            node
            for node in self.at(path).tree.body
            if isinstance(node, ast.ClassDef) and node.name == "Aggregate"
        )
        methods = [each for each in base.body if isinstance(each, ast.FunctionDef)]
        decorators = [map(ast.unparse, e.decorator_list) for e in methods if e.name == "subject"]
        return any("abstractmethod" not in each for each in decorators)

    def messages(self, kind: str) -> str:
        """Return the module in `domain` with the messages of a kind, Command or Event."""
        names = {"Command": "commands", "Event": "events"}
        name = names[kind] if self.has(f"domain/{names[kind]}.py") else "messages"
        if not self.has(f"domain/{name}.py"):
            raise InvalidValue(str(self.path("domain/messages.py")), "does not exist")
        return f"{self.package}.domain.{name}"

    @property
    def endpoints(self) -> str | None:
        """The folder or module of endpoints, below the package; None without HTTP."""
        if self.has("entrypoints/http/__init__.py"):
            return "entrypoints/http/"
        return "entrypoints/" if self.has("entrypoints/http.py") else None

    def newest_migration(self) -> tuple[Path, str]:
        """Return the folder of the migrations, and the newest revision.

        :raises InvalidValue: if no file has a name like those of the engine's migrations
        """
        name = re.compile(rf"{self.package}_\d{{4,}}_\w+\.py")
        here = sorted((self.folder / self.path("adapters")).rglob(f"{self.package}_*.py"))
        files = [each for each in here if name.fullmatch(each.name)]
        if not files:
            rule = f"has no migration with a name like {self.package}_0001_initial.py"
            raise InvalidValue(str(self.path("adapters")), rule)
        revisions = re.findall(r'^revision = "(\w+)"', files[-1].read_text(), re.MULTILINE)
        if len(revisions) != 1:
            raise InvalidValue(str(files[-1]), 'does not say revision = "…". Nothing was written')
        return files[-1].parent.relative_to(self.folder), revisions[0]
