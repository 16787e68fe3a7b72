"""The tests of a new aggregate, one file for each layer, and its builder."""

from collections.abc import Mapping
from pathlib import Path

from aftercommit.project.aggregate.aggregate_name import Aggregate, Field
from aftercommit.project.aggregate.project_layout import Layout
from aftercommit.project.aggregate.source_edits import Source
from aftercommit.project.aggregate.test_texts import (
    BUILDER,
    E2E,
    ENDED,
    HTTP,
    INTEGRATION,
    OVER,
    TAKEN_ID,
    UNIQUE,
    UNIT,
    WRONG_VALUES,
)

BUILDERS = Path("tests/builders.py")
CONFTEST = Path("tests/conftest.py")
VALUES = {"text": '"lamp"', "email": '"ivan@example.com"', "int": "3", "uuid": "uuid4()"}
WORDS = {"int": '"3"', "uuid": "str(uuid4())"}
OTHERS = {"text": '"chair"', "email": '"olga@example.com"', "int": "4", "uuid": "uuid4()"}
WRONG = {"text": '"a\\nb"', "email": '"Иван"', "int": "-1"}


def new_files(aggregate: Aggregate, layout: Layout, filled: Mapping[str, str]) -> dict[Path, str]:
    """Return the tests, and the file of builders if there is none yet."""
    names = {**filled, **_names(aggregate, layout)}
    files = {
        Path(f"tests/unit/test_{aggregate.plural}.py"): _unit(aggregate, names),
        Path(f"tests/integration/test_{aggregate.plural}.py"): _integration(aggregate, names),
        Path(f"tests/e2e/test_{aggregate.plural}.py"): E2E.substitute(names),
    }
    if layout.endpoints:
        path = Path(f"tests/integration/test_{aggregate.plural}_http.py")
        files[path] = HTTP.substitute(names)
    if not (layout.folder / BUILDERS).exists():
        files[BUILDERS] = f'"""Build test data, stating only what matters."""\n\n{_builder(names)}'
    return files


def entries(aggregate: Aggregate, layout: Layout, filled: Mapping[str, str]) -> list[Source]:
    """Return the existing builders, with one more."""
    if not (layout.folder / BUILDERS).exists():
        return []
    names = {**filled, **_names(aggregate, layout)}
    imports, _, code = _builder(names).partition("\n\n\n")
    return [layout.at(BUILDERS).appended(code).with_imports(*imports.splitlines())]


def _names(aggregate: Aggregate, layout: Layout) -> dict[str, str]:
    conftest = (layout.folder / CONFTEST).read_text(encoding="utf-8")
    last = aggregate.later[-1] if aggregate.later else aggregate.first
    given = "".join(f", {each.name}={VALUES[each.kind]}" for each in aggregate.fields)
    return {
        "settings": "each_settings" if "def each_settings" in conftest else "settings",
        "domain_names": ", ".join(
            f"{aggregate.name}{each}" for each in ("", "NotFound", "IdTaken", "IsOver")
        )
        + "".join(f", {_error(aggregate, each)}" for each in aggregate.unique),
        "handlers": ", ".join(map(aggregate.handler, aggregate.verbs)),
        "dashed_handler": aggregate.handler(aggregate.first).replace("_", "-"),
        "row_fields": "".join(f", row.{each.name}" for each in aggregate.fields),
        "command_fields": "".join(f", command.{each.name}" for each in aggregate.fields),
        "ended": _if_ends(aggregate, "integration"),
        "then": _if_ends(aggregate, "e2e"),
        "http_then": _if_ends(aggregate, "http"),
        "prefix": layout.package.upper(),
        "last": last.verb,
        "last_state": last.participle,
        "Last": aggregate.command(last),
        "last_event": aggregate.event(last),
        "handler": aggregate.handler(aggregate.first),
        "last_handler": aggregate.handler(last),
        "defaults": "".join(
            f", {each.name}: {each.type} = {VALUES[each.kind]}"
            if each.kind != "uuid"
            else f", {each.name}: UUID | None = None"
            for each in aggregate.fields
        ),
        "built": "".join(
            f", {each.name}={each.name}"
            if each.kind != "uuid"
            else f", {each.name}={each.name} or uuid4()"
            for each in aggregate.fields
        ),
        "values": given,
        "of_aggregate": "".join(
            f", {each.name}={aggregate.snake}.{each.name}" for each in aggregate.fields
        ),
        "words_of_fields": "".join(
            f", {WORDS.get(each.kind, VALUES[each.kind])}" for each in aggregate.fields
        ),
        "http_fields": ", ".join(
            f'"{each.name}": {VALUES[each.kind] if each.kind != "uuid" else "str(uuid4())"}'
            for each in aggregate.fields
        ),
    }


def _if_ends(aggregate: Aggregate, layer: str) -> str:
    """Return how a test goes on if the aggregate can end: with its last command."""
    if not aggregate.later:
        shown = (
            f'\n    assert {aggregate.key} in output_of("{aggregate.plural.replace("_", "-")}")\n'
        )
        return shown if layer == "e2e" else ""
    last, key = aggregate.later[-1], aggregate.key
    path = f"/{aggregate.plural.replace('_', '-')}/"
    texts = {
        "integration": f"""
    await application.bus.handle({aggregate.command(last)}({key}=row.{key}))

    row = await views.{aggregate.snake}(application.database, row.{key})
    assert row.state == "{last.participle}"
    assert await views.{aggregate.query(last)}(application.database, row.{key})
""",
        "e2e": f"""
    output_of("{aggregate.handler(last).replace("_", "-")}", {key})

    assert f"{{{key}}}  {last.participle}" in output_of("{aggregate.plural.replace("_", "-")}")
""",
        "http": f"""
    verb = f"{path}{{made.json()['{key}']}}/{last.verb.replace("_", "-")}"
    assert (await client.post(verb, headers=OPERATOR)).status_code == 204
    shown = await client.get(made.headers["Location"], headers=OPERATOR)
    assert shown.json()["state"] == "{last.participle}"
""",
    }
    return texts[layer]


def _builder(names: Mapping[str, str]) -> str:
    return BUILDER.substitute(names)


def _unit(aggregate: Aggregate, names: Mapping[str, str]) -> str:
    text = UNIT.substitute(names)
    if aggregate.later:
        text += ENDED.substitute(names)
    if len(aggregate.later) > 1:
        first_end = aggregate.later[0]
        text += OVER.substitute(names, end=first_end.verb, end_state=first_end.participle)
    if changed := [each for each in aggregate.fields if each.kind != "uuid"]:
        text += TAKEN_ID.substitute(names, field=changed[0].name, other=OTHERS[changed[0].kind])
        cases = [f'("{each.name}", {WRONG[each.kind]})' for each in changed]
        text += WRONG_VALUES.substitute(names, cases=",\n        ".join([*cases, ""]))
    return text


def _integration(aggregate: Aggregate, names: Mapping[str, str]) -> str:
    text = INTEGRATION.substitute(names)
    for each in aggregate.unique:
        text += UNIQUE.substitute(names, field=each.name, error=_error(aggregate, each))
    return text


def _error(aggregate: Aggregate, field: Field) -> str:
    return f"{aggregate.name}{''.join(map(str.capitalize, field.name.split('_')))}Taken"
