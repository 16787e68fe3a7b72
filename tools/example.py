"""Deletes the example, or a part of it: `make without EXAMPLE=coupons`, then `EXAMPLE=users`.

What belongs to a part is known by its words, so the code needs no marks. A file with such a word in
its name goes; so does a name that has one, or that is defined in such a file; and then, what cannot
do without it:

- of a list, a dictionary, an import, a union or a signature, the entry; a table that is typed, or
  is an argument with a name, may be empty then;
- of a function, the statement, and those that use what it would have assigned;
- a test, if any of its statements would go;
- a function, class or block of which nothing is left, and what uses it; a file of imports.

Sentences are left to the reader: the lines are printed that still have such a word.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby
from pathlib import Path

from allocation.domain import events
from allocation.domain.events import Event
from allocation.service_layer.envelopes import message_types
from tools.extensions import PICTURES, refuse_changes, tracked, unmarked, without_dead_ends
from tools.files import ROOT

COUPONS = "coupon|redemption|marketing"
USERS = (  # not those of an operating system, a database or a URL
    r"(?<!get)(?<!current_)(?<!tcp_)(?<!postgres_)(?<!default_)user(?!name|:password|_version|_properties)"
    "|registration|bounce|contact|welcome|imported_?row|refused_?row|nobody_?imported"
    "|change[-_]?email|email_?changed|(?:new|old)_?email|change_notice|is_?undeliverable"
)
PARTS = {  # who takes out the users takes out their coupons, too
    "coupons": re.compile(COUPONS, re.IGNORECASE),
    "users": re.compile(f"{USERS}|{COUPONS}", re.IGNORECASE),
}
KEPT = re.compile(  # what was decided, and what is stored, once: a new migration drops the tables
    r"README\.md|tools/.*|docs/decisions/.*|src/\w+/adapters/migrations/versions/.*"
)
MODULE = re.compile(r' *"(\w+(?:\.\w+)+)",\n')  # a line of an import contract
TEST = re.compile(r"^ *(?:async )?def test_|^Test\w+ = ", re.MULTILINE)
COMMENT = re.compile(rb" *#(?! (?:extension|example): | end$)")

Span = tuple[int, int]  # of bytes in a file
Located = ast.expr | ast.arg | ast.alias | ast.keyword
Function = ast.FunctionDef | ast.AsyncFunctionDef
Branch = ast.If | ast.For | ast.With | ast.AsyncFor | ast.AsyncWith


class Cuts:
    """What goes of one file; `gone` are its names of which nothing is left."""

    def __init__(self, text: str, words: re.Pattern[str], gone: set[str]) -> None:
        self._text, self._words, self.gone = text.encode(), words, gone
        self._starts = [0, *accumulate(map(len, self._text.splitlines(keepends=True)))]
        self._spans: list[Span] = []
        self._block_stays(ast.parse(text).body)
        rest = self.rest()
        left = [each for each in ast.parse(rest).body if not is_text(each)]
        is_import = [isinstance(each, ast.Import | ast.ImportFrom) for each in left]
        has_lost_tests = TEST.search(text) and not TEST.search(rest)
        self.is_empty = bool(self._spans) and (all(is_import) or bool(has_lost_tests))

    def rest(self) -> str:
        """Return what is left of the file."""
        left, at = b"", 0
        for start, end in sorted(self._spans):
            left += self._text[at : max(start, at)]
            at = max(at, end)
        return (left + self._text[at:]).decode()

    def _block_stays(self, statements: Sequence[ast.stmt]) -> bool:
        """Cut what goes of a block; tell whether anything is left, or nothing has gone."""
        before, left, cuts = True, False, len(self._spans)
        for each in statements:
            stays = before if is_text(each) else self._stays(each)  # it is about what is above
            if not stays:
                self._cut_lines(each)
            before, left = stays, left or (stays and not is_text(each))
        return left or len(self._spans) == cuts

    def _stays(self, node: ast.stmt) -> bool:
        """Cut what goes of a statement; tell whether the rest can stay."""
        if not (stays := self._rest_stays(node)):
            self.gone |= {*defined(node), *bound_within(node)}
        return stays

    def _rest_stays(self, node: ast.stmt) -> bool:
        match node:
            case ast.ClassDef(name=name, body=body):
                return not self._is_gone(name) and self._block_stays(body)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                return self._function_stays(node)
            case ast.ImportFrom(module=str(module)) if self._words.search(module):
                return False
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                return self._without(names, [not self._is_gone(each.name) for each in names])
            case ast.Assign(targets=[ast.Tuple() as names], value=value):
                cuts = len(self._spans)
                return self._shrinks(names) & self._shrinks(value) and len(self._spans) == cuts
            case ast.AnnAssign(target=ast.Name(id=name), value=table) if table and is_table(table):
                return not self._is_gone(name) and self._is_table(table)
            case ast.If() | ast.For() | ast.With() | ast.AsyncFor() | ast.AsyncWith():
                return self._branch_stays(node)
        return self._shrinks(node)

    def _branch_stays(self, node: Branch) -> bool:
        heads = [each for each in ast.iter_child_nodes(node) if not isinstance(each, ast.stmt)]
        stays = all(map(self._shrinks, heads)) and self._block_stays(node.body)
        self._block_stays(getattr(node, "orelse", []))
        return stays

    def _function_stays(self, node: Function) -> bool:
        if self._is_gone(node.name):
            return False
        outside, self.gone = self.gone, {*self.gone}
        stays = all(map(self._shrinks, node.decorator_list))
        cuts = len(self._spans)
        self._cut_parameters(node.args)
        stays &= (node.returns is None or self._shrinks(node.returns)) and self._block_stays(
            node.body
        )
        self.gone = outside
        return stays and not (node.name.startswith("test_") and len(self._spans) > cuts)

    def _cut_parameters(self, of: ast.arguments) -> None:
        positional = [*of.posonlyargs, *of.args]
        arguments = [*positional, *of.kwonlyargs]
        for each in (*arguments, *filter(None, [of.vararg, of.kwarg])):
            if each.annotation and not self._shrinks(each.annotation):
                self.gone.add(each.arg)
        defaults = [*[None] * (len(positional) - len(of.defaults)), *of.defaults, *of.kw_defaults]
        places = [self._place(*each) for each in zip(arguments, defaults, strict=True)]
        for each, default in zip(arguments, defaults, strict=True):
            if isinstance(default, ast.Name) and self._is_gone(default.id):
                self.gone.add(each.arg)
        stay = [not self._is_gone(each.arg) for each in arguments]
        if of.kwonlyargs and not of.vararg and not any(stay[len(positional) :]):
            first, _ = places[len(positional)]
            self._spans.append((self._text.rindex(b"*", 0, first), first))
        self._cut(places, stay)

    def _is_gone(self, name: str) -> bool:
        return name in self.gone or bool(self._words.search(name))

    def _shrinks(self, node: ast.AST) -> bool:
        """Cut the entries that go; tell whether the rest can stay without them."""
        match node:
            case ast.Name() | ast.Attribute() | ast.Constant():
                return self._name_stays(node)
            case ast.List(elts=entries) | ast.Set(elts=entries):
                return self._without(entries, [*map(self._row_stays, entries)])
            case ast.Tuple(elts=entries):
                return self._without(entries, [*map(self._shrinks, entries)], comma=1)
            case ast.Dict():
                return self._dictionary_shrinks(node)
            case ast.BinOp(op=ast.BitOr()):
                return self._without(types := [*members(node)], [*map(self._shrinks, types)])
            case ast.Call():
                return self._call_shrinks(node)
            case ast.Subscript(value=value, slice=ast.Tuple(elts=entries)):
                return self._shrinks(value) and all(map(self._shrinks, entries))
        return all(map(self._shrinks, ast.iter_child_nodes(node)))

    def _name_stays(self, node: ast.Name | ast.Attribute | ast.Constant) -> bool:
        match node:
            case ast.Name(id=name):
                return not self._is_gone(name)
            case ast.Attribute(attr=name, value=value):
                return not self._is_gone(name) and self._shrinks(value)
            case ast.Constant(value=str(text)):  # in a sentence, a name has an underscore
                names = re.findall(r"\S*_\S*", text) if " " in text else [text]
                return not any(map(self._words.search, names))
        return True

    def _row_stays(self, entry: ast.expr) -> bool:
        """Tell whether an entry of a table stays: if it is a tuple, as it is or not at all."""
        cuts = len(self._spans)
        stays = self._shrinks(entry)
        return stays and not (isinstance(entry, ast.Tuple) and len(self._spans) > cuts)

    def _dictionary_shrinks(self, node: ast.Dict) -> bool:
        pairs = [(key or value, value) for key, value in zip(node.keys, node.values, strict=True)]
        stay = [self._row_stays(key) and self._row_stays(value) for key, value in pairs]
        places = [self._place(*pair) for pair in pairs]
        for number, key in enumerate(node.keys):
            if key is None:  # of `**rest`, only the name has a place
                start, end = places[number]
                places[number] = self._text.rindex(b"**", 0, start), end
        return self._cut(places, stay)

    def _call_shrinks(self, node: ast.Call) -> bool:
        named = [not self._words.search(each.arg or "") for each in node.keywords]
        values = [each.value for each, stays in zip(node.keywords, named, strict=True) if stays]
        stays = all(map(self._shrinks, [node.func, *node.args]))
        stays &= all(map(self._argument_stays, values))
        self._without([*node.args, *node.keywords], [*[True] * len(node.args), *named])
        return stays

    def _argument_stays(self, value: ast.expr) -> bool:
        return self._is_table(value) if is_table(value) else self._shrinks(value)

    def _without(self, entries: Sequence[Located], stay: Sequence[bool], *, comma: int = 0) -> bool:
        return self._cut([self._place(each) for each in entries], stay, comma=comma)

    def _cut(self, places: Sequence[Span], stay: Sequence[bool], *, comma: int = 0) -> bool:
        """Cut the entries that do not stay, unless that is all; tell whether any are left."""
        for first, last in runs(stay):
            start, end = places[first][0], places[last][1]
            if last + 1 < len(places):
                self._spans.append((start, places[last + 1][0]))
            elif start in self._starts:  # it begins a line, so it ends one
                self._spans.append((start, min(each for each in self._starts if each > end)))
            elif first > 0:
                self._spans.append((places[first - 1][1] + comma, end))
        return not stay or any(stay)

    def _place(self, first: Located, last: Located | None = None) -> Span:
        """Return where an entry is; if it begins its line, with the comments above it."""
        last, line = last or first, self._starts[first.lineno - 1]
        start, end = line + first.col_offset, self._starts[(last.end_lineno or 1) - 1]
        is_first = not self._text[line:start].strip()
        return (self._above(first.lineno) if is_first else start, end + (last.end_col_offset or 0))

    def _cut_lines(self, node: ast.stmt) -> None:
        """Cut a statement, with its decorators and the comments above it."""
        lines = [node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))]
        self._spans.append((self._above(min(lines)), self._starts[node.end_lineno or 0]))

    def _above(self, line: int) -> int:
        """Return the start of a line, or of the comments directly above it."""
        while line > 1 and COMMENT.match(self._text, self._starts[line - 2]):
            line -= 1
        return self._starts[line - 1]

    def _is_table(self, table: ast.expr) -> bool:
        """Cut the entries of a table that go: with a type of its own, it may be empty then."""
        if not self._shrinks(table):
            start, end = self._place(table)
            self._spans.append((start + 1, end - 1))
        return True


def members(union: ast.expr) -> Iterator[ast.expr]:
    """Yield the members of a union."""
    if isinstance(union, ast.BinOp) and isinstance(union.op, ast.BitOr):
        yield from members(union.left)
        yield from members(union.right)
    else:
        yield union


def runs(stay: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of the entries that go, for each row of them."""
    for stays, group in groupby(range(len(stay)), stay.__getitem__):
        if not stays:
            yield (numbers := [*group])[0], numbers[-1]


def defined(node: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement defines."""
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from (each.asname or each.name for each in names)
        case ast.Assign(targets=targets):
            named = [each for target in targets for each in getattr(target, "elts", [target])]
            yield from (each.id for each in named if isinstance(each, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name


def bound_within(node: ast.stmt) -> Iterator[str]:
    """Yield the names that expressions in a statement bind; those in a function are its own."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield from (n.target.id for n in ast.walk(node) if isinstance(n, ast.NamedExpr))


def is_table(node: ast.expr) -> bool:
    """Tell whether this is a list or a dictionary, written out."""
    return isinstance(node, ast.List | ast.Dict)


def is_text(node: ast.stmt) -> bool:
    """Tell whether this is a docstring, of what it stands in or of what is above it."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def cuts_in(files: Sequence[Path], words: re.Pattern[str]) -> dict[Path, Cuts]:
    """Return what goes of each file; a name that one has lost goes from those that import it."""
    texts, gone = {file: file.read_text() for file in files}, dict[str, set[str]]()
    while True:
        cuts = {}
        for file, text in texts.items():
            known = gone.get(module(file), set()) | imported(text, gone)
            cuts[file] = Cuts(text, words, known)
        if gone == (gone := {module(file): each.gone for file, each in cuts.items()}):
            return cuts


def module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removeprefix("src.")


def imported(text: str, gone: dict[str, set[str]]) -> set[str]:
    """Return the names that a file imports from modules that have them no longer."""
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    lost = [(each, gone.get(node.module or "", ())) for node in found for each in node.names]
    return {each.asname or each.name for each, names in lost if each.name in names}


def take_out(part: str) -> list[str]:
    """Take a part of the example out of the working tree; return the lines that still name it."""
    words, marks = PARTS[part], {part, "coupons"}
    paths = [ROOT / each for each in tracked() if not KEPT.fullmatch(each.as_posix())]
    texts = [each for each in paths if each.suffix not in PICTURES and not words.search(each.name)]
    cuts = cuts_in([each for each in texts if each.suffix == ".py"], words)
    for path in (each for each in paths if words.search(each.name)):
        path.unlink()
    for path in (each for each in texts if each.suffix in (".md", ".yaml", ".toml")):
        path.write_text("".join(unmarked(path.read_text().splitlines(True), marks)))
    for path, cut in cuts.items():
        path.write_text(cut.rest())
        if cut.is_empty:
            path.unlink()
    configuration = ROOT / "pyproject.toml"
    configuration.write_text(without_lost_modules(configuration.read_text()))
    finish()
    return [*lines_with(words, texts)]


def without_lost_modules(configuration: str) -> str:
    """Return pyproject.toml without the modules that are not there."""

    def is_lost(line: str) -> bool:
        module = MODULE.fullmatch(line)
        path = ROOT / "src" / (module[1].replace(".", "/") if module else "")
        return not (path.exists() or path.with_suffix(".py").exists())

    return "".join(line for line in configuration.splitlines(True) if not is_lost(line))


def finish() -> None:
    """Put what is left in order, and write what is made of it."""
    for page in ROOT.glob("**/*.md"):
        page.write_text(without_dead_ends(page, page.read_text()))
    for command in ("ruff check --fix-only --quiet .", "ruff format --quiet .", "tests.generated"):
        subprocess.run([sys.executable, "-m", *command.split()], cwd=ROOT, check=True)
    forget = "from tools.language import write_files; write_files()"
    subprocess.run([sys.executable, "-c", forget], cwd=ROOT, check=True)


def lines_with(words: re.Pattern[str], paths: Sequence[Path]) -> Iterator[str]:
    """Yield the lines that have such a word, as compilers do."""
    for path in filter(Path.exists, paths):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            if words.search(line):
                yield f"{path.relative_to(ROOT)}:{number}: {line.strip()}"


def refuse(part: str, names_of_events: Iterable[str]) -> None:
    """End with a `SystemExit`, if this is no part of the example, or no event would be left."""
    if part not in PARTS:
        raise SystemExit(f"there is no {part!r} in the example; there are: {', '.join(PARTS)}")
    if all(map(PARTS[part].search, names_of_events)):
        raise SystemExit(
            "nothing would be left: add an aggregate of your own, with an event, first"
        )


def main(part: str = "") -> str:
    """Do what is asked, and return what there is to say; a `SystemExit` is a refusal."""
    refuse(part, [event.__name__ for event in message_types(events, Event)])
    refuse_changes()
    left = "\n".join(take_out(part))
    return f"{left}\ntaken out: {part}. Above is what is left of it; see `git diff --stat`."


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
