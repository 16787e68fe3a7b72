"""The entries of an aggregate in existing files, such as its row in a list."""

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template

from aftercommit.errors import InvalidValue
from aftercommit.project.aggregate import test_code
from aftercommit.project.aggregate.aggregate_name import Aggregate, Verb
from aftercommit.project.aggregate.lines import LINES
from aftercommit.project.aggregate.own_files import constraint, endpoints_file, names, taken
from aftercommit.project.aggregate.project_layout import Layout
from aftercommit.project.aggregate.source_edits import Source, call_of, keyword_of, value_of
from aftercommit.project.aggregate.texts import VIEWS

MAX_ENTRY = 85  # characters: it is indented
STORED_EVENTS = Path("tests/golden/stored_events.json")


def entries(aggregate: Aggregate, layout: Layout) -> Mapping[Path, Source]:
    """Return the existing files, each with the entries of the aggregate.

    :raises InvalidValue: if one of them is not as expected
    """
    changed = [
        *_messages(aggregate, layout),
        _table_of_handlers(aggregate, layout),
        _repository(aggregate, layout),
        _tables(aggregate, layout),
        *_refusals(aggregate, layout),
        _views(aggregate, layout),
        *_queries(aggregate, layout),
        _application(aggregate, layout),
        *_stored_events(aggregate, layout),
        *test_code.entries(aggregate, layout, names(aggregate, layout)),
    ]
    return {each.path: each for each in changed}


def _messages(aggregate: Aggregate, layout: Layout) -> list[Source]:
    written: dict[str, str] = {}
    for kind in ("Command", "Event"):
        module = layout.messages(kind)
        written[module] = written.get(module, "") + "".join(
            _message(aggregate, verb, kind) for verb in aggregate.verbs
        )
    folder = layout.path("domain")
    sources = [layout.at(folder / f"{each.rpartition('.')[2]}.py") for each in written]
    return [
        source.appended(code).with_imports(
            "from dataclasses import dataclass",
            "from uuid import UUID",
            *(
                f"from {layout.module_of(base)} import {base}"
                for base in ("Command", "Event")
                if f"({base})" in code and layout.module_of(base) != module
            ),
        )
        for source, (module, code) in zip(sources, written.items(), strict=True)
    ]


def _message(aggregate: Aggregate, verb: Verb, kind: str) -> str:
    is_first = verb == aggregate.first
    if kind == "Command":
        name, title = aggregate.command(verb), verb.title
        doc = f"{title} {aggregate.article} {aggregate.words}. Repeating it changes nothing."
    else:
        name, participle = aggregate.event(verb), verb.participle.replace("_", " ")
        doc = f"{aggregate.article.capitalize()} {aggregate.words} was {participle}."
    fields = aggregate.fields if is_first else ()
    typed = "".join(f"    {each.name}: {each.type}\n" for each in fields)
    return LINES["message"].format(name=name, kind=kind, doc=doc, key=aggregate.key, fields=typed)


def _table_of_handlers(aggregate: Aggregate, layout: Layout) -> Source:
    source = layout.source("service_layer/handlers.py")
    shape = "it has no table `Handlers(commands=[…], events=[…])`"
    called = ", ".join(map(aggregate.handler, aggregate.verbs))
    imports = [f"from {layout.package}.service_layer.{aggregate.snake}_handlers import {called}"]
    prefix = {}
    for kind, of in (("Command", aggregate.command), ("Event", aggregate.event)):
        folder, _, module = layout.messages(kind).rpartition(".")
        whole = rf"^from {folder} import .*\b{module}\b"
        is_whole = bool(re.search(whole, source.text, re.MULTILINE))
        prefix[kind] = f"{module}." if is_whole else ""
        named = ", ".join(map(of, aggregate.verbs))
        imports += [] if is_whole else [f"from {folder}.{module} import {named}"]
    for verb in aggregate.verbs:
        entry = f"on({prefix['Command']}{aggregate.command(verb)}, {aggregate.handler(verb)})"
        source = source.in_list(shape, keyword_of("Handlers", "commands"), entry)
        event = f"on({prefix['Event']}{aggregate.event(verb)})"
        source = source.in_list(shape, keyword_of("Handlers", "events"), event)
    return source.with_imports(*imports)


def _repository(aggregate: Aggregate, layout: Layout) -> Source:
    source = layout.source("service_layer/unit_of_work.py")
    shape = "it has no class UnitOfWork with `self.NAME = Repository(…)` in `__init__`"
    store = _store_of(source)
    if store is None:
        raise InvalidValue(str(source.path), f"is not as expected: {shape}. Nothing was written")
    own = f"Repository[{aggregate.name}, UUID]({store}, {aggregate.name}, {aggregate.name}NotFound)"
    line = f"self.{aggregate.plural} = {own}"

    def is_one(node: ast.stmt) -> bool:
        return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).startswith("self.")

    return source.after_last(shape, is_one, line).with_imports(
        "from uuid import UUID",
        "from aftercommit import Repository",
        f"from {layout.package}.domain.{aggregate.plural} import {aggregate.name},"
        f" {aggregate.name}NotFound",
    )


def _store_of(source: Source) -> str | None:
    """Return the name of the store in `__init__` of the unit of work."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef) and node.name == "UnitOfWork":
            for each in node.body:
                if isinstance(each, ast.FunctionDef) and each.name == "__init__":
                    return each.args.args[1].arg if len(each.args.args) > 1 else None
    return None


def _tables(aggregate: Aggregate, layout: Layout) -> Source:
    types = {"int": "sa.Integer", "uuid": "sa.Uuid"}
    columns = "".join(
        f'    sa.Column("{each.name}", {types.get(each.kind, "sa.String")}, nullable=False'
        f"{', unique=True' if each.is_unique else ''}),\n"
        for each in aggregate.fields
    )
    table = Template(LINES["table"]).substitute(names(aggregate, layout), columns=columns).rstrip()
    source = layout.source("adapters/orm.py")

    def maps(node: ast.stmt) -> bool:
        value = node.value if isinstance(node, ast.Expr) else None
        return isinstance(value, ast.Call) and ast.unparse(value.func).endswith(".map_imperatively")

    shape = "no statement maps a class by `mapping.map_imperatively(…)`"
    found = [node for node in ast.walk(source.tree) if isinstance(node, ast.stmt) and maps(node)]
    tables = {ast.unparse(each.value.args[1]) for each in found}  # type: ignore[attr-defined]

    def is_mapped(node: ast.stmt) -> bool:
        return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in tables

    mapping = ast.unparse(found[0]).partition(".map_imperatively")[0] if found else ""
    mapped = (
        f"{mapping}.map_imperatively({aggregate.name}, {aggregate.plural},"
        f" version_id_col={aggregate.plural}.c.version)"
    )
    source = source.after_last(shape, maps, mapped)
    source = source.after_last("it has no table of a mapped class", is_mapped, f"\n{table}")
    return source.with_imports(
        f"from {layout.package}.domain.{aggregate.plural} import {aggregate.name}"
    )


def _refusals(aggregate: Aggregate, layout: Layout) -> list[Source]:
    """Return the adapters, with `refusals` extended by the meaning of each constraint."""
    if not aggregate.unique:
        return []
    source = layout.source("adapters/repositories.py")
    meanings = "".join(
        f'meanings["{constraint(aggregate, each)}"] ='
        f" {taken(aggregate, each)}({aggregate.snake}.{each.name})\n        "
        for each in aggregate.unique
    ).rstrip()
    match = Template(LINES["refusal"]).substitute(names(aggregate, layout), meanings=meanings)
    functions = [
        node
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef) and node.name == "refusals"
    ]
    last = functions[0].body[-1] if functions else None
    returned = ast.unparse(last.value) if isinstance(last, ast.Return) and last.value else ""
    if last is None or returned not in ("{}", "meanings"):
        shape = "it has no `refusals` that ends with `return {}`, or with `return meanings`"
        raise InvalidValue(str(source.path), f"is not as expected: {shape}. Nothing was written")
    begun = "meanings: dict[str, Exception] = {}\n" if returned == "{}" else ""
    source = source.replaced(last, f"{begun}{match.strip()}\nreturn meanings")
    errors = ", ".join(taken(aggregate, each) for each in aggregate.unique)
    module = f"{layout.package}.domain.{aggregate.plural}"
    return [source.with_imports(f"from {module} import {aggregate.name}, {errors}")]


def _views(aggregate: Aggregate, layout: Layout) -> Source:
    typed = "".join(f"    {each.name}: {each.type}\n" for each in aggregate.fields)
    columns = "".join(f"    orm.{aggregate.plural}.c.{each.name},\n" for each in aggregate.fields)
    filled = names(aggregate, layout)
    queries = "".join(
        Template(LINES["query"]).substitute(
            filled, state=each.participle, said=each.participle.replace("_", " ")
        )
        for each in aggregate.later
    )
    code = VIEWS.substitute(filled, fields=typed, columns=columns, queries=queries)
    source, select = layout.source("views.py"), "import sqlalchemy as sa"
    if "\nfrom sqlalchemy import " in source.text:  # as the file does it
        code, select = code.replace("sa.select(", "select("), "from sqlalchemy import select"
    return source.appended(code).with_imports(
        "from dataclasses import dataclass",
        "from uuid import UUID",
        select,
        "from aftercommit import Database",
        f"from {layout.package}.adapters import orm",
        f"from {layout.package}.domain.{aggregate.plural} import {aggregate.name}NotFound,"
        f" {aggregate.name}State",
    )


def _queries(aggregate: Aggregate, layout: Layout) -> list[Source]:
    """Return the composition root, which offers to handlers whether an aggregate has ended."""
    if not aggregate.later:
        return []
    source = layout.source("bootstrap.py")
    given = keyword_of("open_application", "queries")
    listed = ", ".join(
        f'"{aggregate.query(each)}": views.{aggregate.query(each)}' for each in aggregate.later
    )
    shape = "it has no call `open_application(…, queries={…})`"
    if any(given(node) for node in ast.walk(source.tree)):
        source = source.in_list(shape, given, listed)
    else:
        source = source.in_list(shape, call_of("open_application"), f"queries={{{listed}}}")
    return [source.with_imports(f"from {layout.package} import views")]


def _application(aggregate: Aggregate, layout: Layout) -> Source:
    """Return the list of the application's parts, with the commands and the endpoints."""
    source = layout.source("entrypoints/app.py")
    module = f"{layout.package}.entrypoints.{aggregate.snake}_commands"
    listed = {
        aggregate.handler(verb): f"{verb.title} {aggregate.article} {aggregate.words}."
        for verb in aggregate.verbs
    }
    listed[aggregate.plural] = f"List all {aggregate.plural.replace('_', ' ')}."
    for name, helped in listed.items():
        entry = f'"{module}:{name}": "{helped}"'
        entry = entry if len(entry) < MAX_ENTRY else f'"{module}:{name}": (\n"{helped}"\n)'
        source = source.in_list('it lists no commands under "Use"', value_of("Use"), entry)
    if not layout.endpoints:
        return source
    module = ".".join(endpoints_file(aggregate, layout).with_suffix("").parts[1:])
    return source.in_list("it has no WebExtension(…)", call_of("WebExtension"), f'"{module}"')


def _stored_events(aggregate: Aggregate, layout: Layout) -> list[Source]:
    """Return the golden file for `testing.check_stored_events`, with the shapes of the events."""
    if not (layout.folder / STORED_EVENTS).exists():
        return []
    source = layout.at(STORED_EVENTS)
    schemas = {"int": {"type": "integer"}, "uuid": {"type": "string", "format": "uuid"}}
    try:
        shapes = {**json.loads(source.text)}
    except (ValueError, TypeError) as error:
        raise InvalidValue(str(source.path), f"cannot be read: {error}") from None
    for verb in aggregate.verbs:
        fields = aggregate.fields if verb == aggregate.first else ()
        typed = {each.name: schemas.get(each.kind, {"type": "string"}) for each in fields}
        typed[aggregate.key] = schemas["uuid"]
        name = f"{aggregate.snake}_{verb.participle} 1"
        shapes[name] = {"type": "object", "properties": typed, "required": sorted(typed)}
    text = json.dumps(shapes, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    return [Source(source.path, text)]
