"""Adds entries to a file of Python: each after the last one of its kind.

A file that is not as expected is refused with a sentence.
"""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aftercommit.errors import InvalidValue


@dataclass(frozen=True)
class Source:
    """The text of a file; each edit returns a new text."""

    path: Path
    text: str

    @property
    def tree(self) -> ast.Module:
        """Return the file's syntax tree."""
        try:
            return ast.parse(self.text)
        except SyntaxError as error:
            raise InvalidValue(str(self.path), f"cannot be read: {error}") from None

    def with_imports(self, *lines: str) -> "Source":
        """Return it with more imports, after the last one at the top; a formatter sorts them."""
        body = self.tree.body
        imports = [each for each in body if isinstance(each, ast.Import | ast.ImportFrom)]
        if imports:
            return self._after_line(int(imports[-1].end_lineno or 0), "\n".join(lines))
        is_docstring = bool(body) and isinstance(body[0], ast.Expr)
        after = int(body[0].end_lineno or 0) if is_docstring else 0
        return self._after_line(after, "\n".join(["", *lines]))

    def appended(self, code: str) -> "Source":
        """Return it with code added at its end."""
        return Source(self.path, f"{self.text.rstrip()}\n\n\n{code.strip()}\n")

    def after_last(self, what: str, is_one: Callable[[ast.stmt], bool], code: str) -> "Source":
        """Return it with a statement after the last one of a kind, with the same indentation."""
        every = (node for node in ast.walk(self.tree) if isinstance(node, ast.stmt))
        found = sorted(filter(is_one, every), key=lambda node: node.lineno)
        if not found:
            raise self._unexpected(what)
        indented = "\n".join(" " * found[-1].col_offset + each for each in code.split("\n"))
        return self._after_line(int(found[-1].end_lineno or 0), indented)

    def in_list(self, what: str, find: Callable[[ast.AST], ast.expr | None], code: str) -> "Source":
        """Return it with one more element at the end of a list, a tuple, a dictionary or a call."""
        found = [each for each in map(find, ast.walk(self.tree)) if each is not None]
        if len(found) != 1:
            raise self._unexpected(what)
        [node] = found
        match node:
            case ast.List() | ast.Tuple() | ast.Set():
                elements = node.elts
            case ast.Dict():
                elements = node.values
            case ast.Call():
                elements = [*node.args, *(each.value for each in node.keywords)]
            case _:
                raise self._unexpected(what)
        needs_comma = bool(elements) and not self._has_comma_at_end(elements[-1], node)
        added = f", {code}" if needs_comma else f"{code},"
        return self._at(node.end_lineno, (node.end_col_offset or 0) - 1, added)

    def _has_comma_at_end(self, last: ast.expr, node: ast.expr) -> bool:
        lines = self.text.encode().splitlines()[int(last.end_lineno or 1) - 1 : node.end_lineno]
        lines[-1] = lines[-1][: (node.end_col_offset or 0) - 1]
        lines[0] = lines[0][last.end_col_offset :]
        return any(b"," in line.partition(b"#")[0] for line in lines)

    def replaced(self, node: ast.AST, code: str) -> "Source":
        """Return it with other lines in place of a statement."""
        assert isinstance(node, ast.stmt)
        lines = self.text.splitlines()
        indented = [" " * node.col_offset + each if each else "" for each in code.split("\n")]
        kept = [*lines[: node.lineno - 1], *indented, *lines[int(node.end_lineno or 0) :]]
        return Source(self.path, "\n".join(kept) + "\n")

    def _after_line(self, number: int, code: str) -> "Source":
        lines = self.text.splitlines()
        return Source(self.path, "\n".join([*lines[:number], code, *lines[number:]]) + "\n")

    def _at(self, line: int | None, column: int | None, code: str) -> "Source":
        lines = self.text.encode().splitlines(keepends=True)  # columns are counted in bytes
        number = int(line or 1) - 1
        before, after = lines[number][:column], lines[number][column:]
        lines[number] = before + code.encode() + after
        return Source(self.path, b"".join(lines).decode())

    def _unexpected(self, what: str) -> InvalidValue:
        return InvalidValue(str(self.path), f"is not as expected: {what}. Nothing was written")


def keyword_of(call: str, name: str) -> Callable[[ast.AST], ast.expr | None]:
    """Return a function that finds a keyword's value in a call, as `commands` of `Handlers`."""

    def find(node: ast.AST) -> ast.expr | None:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == call:
            return next((each.value for each in node.keywords if each.arg == name), None)
        return None

    return find


def value_of(key: str) -> Callable[[ast.AST], ast.expr | None]:
    """Return a function that finds the dictionary under a key of another one."""

    def find(node: ast.AST) -> ast.expr | None:
        if isinstance(node, ast.Dict):
            for each, value in zip(node.keys, node.values, strict=True):
                if isinstance(each, ast.Constant) and each.value == key:
                    return value if isinstance(value, ast.Dict) else None
        return None

    return find


def call_of(name: str) -> Callable[[ast.AST], ast.expr | None]:
    """Return a function that finds a call of a name."""

    def find(node: ast.AST) -> ast.expr | None:
        if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
            return node
        return None

    return find
