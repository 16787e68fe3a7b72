"""The aggregate's own files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from aftercommit.project.aggregate import test_code
from aftercommit.project.aggregate.aggregate_name import Aggregate, Field
from aftercommit.project.aggregate.lines import LINES
from aftercommit.project.aggregate.project_layout import Layout
from aftercommit.project.aggregate.texts import COMMANDS as COMMAND_LINE
from aftercommit.project.aggregate.texts import DOMAIN, ENDPOINTS, HANDLERS, MIGRATION

MAX_LENGTH = 200


def names(aggregate: Aggregate, layout: Layout) -> dict[str, str]:
    """Return the values for the gaps in the texts."""
    fields, first = aggregate.fields, aggregate.first
    events = [aggregate.event(each) for each in aggregate.verbs]
    commands = [aggregate.command(each) for each in aggregate.verbs]
    return {
        "package": layout.package,
        "name": aggregate.name,
        "snake": aggregate.snake,
        "plural": aggregate.plural,
        "words": aggregate.words,
        "title": aggregate.words.capitalize(),
        "plural_words": aggregate.plural.replace("_", " "),
        "Plural": aggregate.plural.replace("_", " ").capitalize(),
        "upper": aggregate.plural.upper(),
        "path": aggregate.plural.replace("_", "-"),
        "option": aggregate.key.replace("_", "-"),
        "a": aggregate.article,
        "article": aggregate.article,
        "Article": aggregate.article.capitalize(),
        "key": aggregate.key,
        "first": first.verb,
        "first_state": first.participle,
        "First": aggregate.command(first),
        "event": aggregate.event(first),
        "parameters": "".join(f", {each.name}: {each.type}" for each in fields),
        "arguments": "".join(f", {each.name}" for each in fields),
        "given": "".join(f", {each.name}=command.{each.name}" for each in fields),
        "same": _all_of("self", fields),
        "other": _all_of("other", fields),
        "First_title": first.title,
        "life": " and then ".join(
            [first.participle, *filter(None, [" or ".join(e.participle for e in aggregate.later)])]
        ).replace("_", " "),
        "attributes": "\n        ".join(map(_attribute, fields)),
        "of_event": "".join(f", {each.name}={aggregate.snake}.{each.name}" for each in fields),
        "states": ", ".join(f'"{each.participle}"' for each in aggregate.verbs),
        "events": ", ".join(events),
        "commands": ", ".join(commands),
        "commands_module": layout.messages("Command"),
        "commands_import": "from {} import {}".format(*layout.messages("Command").rsplit(".", 1)),
        "commands_name": layout.messages("Command").rpartition(".")[2],
        "events_module": layout.messages("Event"),
        "command_base": layout.module_of("Command"),
        "event_base": layout.module_of("Event"),
        "aggregate_base": layout.module_of("Aggregate"),
        "rule_base": layout.module_of("RuleViolation"),
        "input_base": layout.module_of("InvalidValue"),
    }


def _all_of(owner: str, fields: Sequence[Field]) -> str:
    names = [f"{owner}.{each.name}" for each in fields]
    return f"({', '.join(names)})" if len(names) > 1 else names[0]


def _attribute(field: Field) -> str:
    checked = {
        "email": f"EmailAddress({field.name}).value",
        "text": f'_one_line("{field.name}", {field.name})',
        "int": f'_not_negative("{field.name}", {field.name})',
        "uuid": field.name,
    }
    return f"self.{field.name} = {checked[field.kind]}"


def new_files(aggregate: Aggregate, layout: Layout) -> Mapping[Path, str]:
    """Return the new files of the aggregate."""
    filled = names(aggregate, layout)
    folder, newest = layout.newest_migration()
    number = int(newest.rpartition("_")[2][:4]) + 1
    revision = f"{layout.package}_{number:04}"
    files = {
        layout.path(f"domain/{aggregate.plural}.py"): domain(aggregate, layout),
        layout.path(f"service_layer/{aggregate.snake}_handlers.py"): handlers(aggregate, layout),
        layout.path(f"entrypoints/{aggregate.snake}_commands.py"): command_line(aggregate, layout),
        folder / f"{revision}_{aggregate.plural}.py": MIGRATION.substitute(
            filled, revision=revision, before=newest, columns=_migrated_columns(aggregate)
        ),
    }
    if layout.endpoints:
        files[endpoints_file(aggregate, layout)] = endpoints(aggregate, layout)
    return files | test_code.new_files(aggregate, layout, filled)


def endpoints_file(aggregate: Aggregate, layout: Layout) -> Path:
    """Return the file for the endpoints: a new one next to the existing ones."""
    is_folder = layout.endpoints == "entrypoints/http/"
    name = f"{aggregate.plural}.py" if is_folder else f"{aggregate.snake}_http.py"
    return layout.path(f"{layout.endpoints}{name}")


def domain(aggregate: Aggregate, layout: Layout) -> str:
    """Return the file of the aggregate, with its errors."""
    kinds = {each.kind for each in aggregate.fields}
    filled = names(aggregate, layout)
    checks = ""
    if "text" in kinds:
        checks += LINES["text"]
    if "int" in kinds:
        checks += LINES["int"]
    methods = "".join(
        Template(LINES["ending" if len(aggregate.later) > 1 else "only_ending"]).substitute(
            filled,
            verb=each.verb,
            state=each.participle,
            ended=aggregate.event(each),
        )
        for each in aggregate.later
    )
    errors = "".join(
        Template(LINES["taken"]).substitute(filled, error=taken(aggregate, each), field=each.name)
        for each in aggregate.unique
    )
    if len(aggregate.later) > 1:
        errors += Template(LINES["over"]).substitute(filled)
    constants = f"MAX_LENGTH = {MAX_LENGTH}  # characters\n" if "text" in kinds else ""
    constants += "MAX_NUMBER = 10**9\n" if "int" in kinds else ""
    constants += LINES["pattern"] if "text" in kinds else ""
    return DOMAIN.substitute(
        filled,
        values=f"from {layout.package}.domain.values import EmailAddress\n",
        constants=constants,
        subject="" if layout.has_subject else LINES["subject"],
        methods=methods,
        errors=errors,
        checks=checks,
    )


def taken(aggregate: Aggregate, field: Field) -> str:
    """Return the name of the error that another aggregate has this value."""
    return f"{aggregate.name}{''.join(map(str.capitalize, field.name.split('_')))}Taken"


def handlers(aggregate: Aggregate, layout: Layout) -> str:
    """Return the file of the command handlers."""
    filled = names(aggregate, layout)
    more = "".join(
        Template(LINES["ending_handler"]).substitute(
            filled,
            verb=each.verb,
            title_of=each.title,
            command=aggregate.command(each),
            handler=aggregate.handler(each),
        )
        for each in aggregate.later
    )
    return HANDLERS.substitute(filled, handler=aggregate.handler(aggregate.first), more=more)


def command_line(aggregate: Aggregate, layout: Layout) -> str:
    """Return the file of the commands of the command line."""
    filled = names(aggregate, layout)
    types = {"int": "type=int", "uuid": "type=click.UUID"}
    arguments = "".join(
        f'@click.argument("{each.name}"{", " + types[each.kind] if each.kind in types else ""})\n'
        for each in aggregate.fields
    )
    more = "".join(
        Template(LINES["ending_command"]).substitute(
            filled,
            verb=each.title,
            command=aggregate.command(each),
            handler=aggregate.handler(each),
        )
        for each in aggregate.later
    )
    given = "".join(f", {each.name}={each.name}" for each in aggregate.fields)
    shown = "".join(f", row.{each.name}" for each in aggregate.fields)
    return COMMAND_LINE.substitute(
        filled,
        handler=aggregate.handler(aggregate.first),
        arguments_of=arguments,
        passed=given,
        shown=shown,
        more=more,
        verb=aggregate.first.title,
    )


def endpoints(aggregate: Aggregate, layout: Layout) -> str:
    """Return the file of the endpoints."""
    filled = names(aggregate, layout)
    annotated = {
        "text": "Text",
        "email": "Address",
        "int": "Number",
        "uuid": "UUID",
    }
    kinds = {each.kind for each in aggregate.fields}
    types = "".join(LINES[f"type_{kind}"] for kind in ("text", "email", "int") if kind in kinds)
    refused = [f"{aggregate.name}IdTaken", *(taken(aggregate, each) for each in aggregate.unique)]
    over = [f"{aggregate.name}IsOver"] if len(aggregate.later) > 1 else []
    more = "".join(
        Template(LINES["ending_endpoint"]).substitute(
            filled,
            verb=each.verb.replace("_", "-"),
            does=each.title,
            command=aggregate.command(each),
            handler=aggregate.handler(each),
            errors=", ".join([f"{aggregate.name}NotFound", *over]),
        )
        for each in aggregate.later
    )
    given = "".join(f", {each.name}=new.{each.name}" for each in aggregate.fields)
    typed = "".join(f"    {each.name}: {annotated[each.kind]}\n" for each in aggregate.fields)
    plain = "".join(f"    {each.name}: {each.type}\n" for each in aggregate.fields)
    of_emails = [each.name for each in aggregate.fields if each.kind == "email"]
    as_stored = "".join(f"    new.{each} = EmailAddress(new.{each}).value\n" for each in of_emails)
    values = f"from {layout.package}.domain.values import EmailAddress\n" if of_emails else ""
    constants = [
        name for kind, name in (("text", "MAX_LENGTH"), ("int", "MAX_NUMBER")) if kind in kinds
    ]
    return ENDPOINTS.substitute(
        filled,
        types=types,
        values=values,
        as_stored=as_stored,
        new_fields=typed,
        fields=plain,
        passed=given,
        refused=", ".join(refused),
        errors=", ".join([*constants, f"{aggregate.name}NotFound", *refused, *over]),
        handler=aggregate.handler(aggregate.first),
        does=aggregate.first.title,
        more=more,
    )


def _migrated_columns(aggregate: Aggregate) -> str:
    types = {"int": "sa.Integer()", "uuid": "sa.Uuid()"}
    columns = [
        f'sa.Column("{each.name}", {types.get(each.kind, "sa.String()")}, nullable=False),'
        for each in aggregate.fields
    ]
    constraints = [
        f'sa.UniqueConstraint("{each.name}", name="{constraint(aggregate, each)}"),'
        for each in aggregate.unique
    ]
    key = f'sa.PrimaryKeyConstraint("id", name="pk_{aggregate.plural}"),'
    state = 'sa.Column("state", sa.String(), nullable=False),'
    version = 'sa.Column("version", sa.Integer(), nullable=False),'
    return "\n        ".join([*columns, state, version, key, *constraints])


def constraint(aggregate: Aggregate, field: Field) -> str:
    """Return the name of the constraint that keeps values unique."""
    return f"uq_{aggregate.plural}_{field.name}"
