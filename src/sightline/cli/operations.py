"""``sightline operations``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from sightline.cli.console import stdout, table
from sightline.cli.options import AsJson, settings_from
from sightline.errors import UnknownOperation

if TYPE_CHECKING:
    from sightline.operations import Operation


def operations(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", show_default="all", help="Operations to show.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what can be asked of a photo, with parameters.

    Each can be a task of [cyan]sightline analyze[/], and a server answers it at [cyan]POST
    /v1/operations/NAME[/].

    [bold]Examples[/]

      [cyan]sightline operations[/]
      [cyan]sightline operations detect_bounding_box[/]
      [cyan]sightline operations --json[/]
    """
    from sightline.operations import catalogue
    from sightline.runtime.report import operation_report

    known = catalogue(settings_from().plugins_dir)
    for name in names or ():
        if name not in known:
            raise UnknownOperation(f"there is no operation {name!r}; there are {', '.join(known)}")
    chosen = [known[name] for name in names or known]
    if as_json:
        stdout().print_json(json.dumps([operation_report(operation) for operation in chosen]))
        return
    for operation in chosen:
        _show(operation)


def _show(operation: Operation[Any, Any]) -> None:
    console = stdout()
    console.print(
        Text(operation.name, style="bold cyan").append(f"  {operation.description}", style="default")
    )
    schema = operation.Params.model_json_schema()
    if schema.get("properties"):
        rows = table(("Parameter", "Type", "Default", "Meaning"))
        for name, words, default, meaning in _parameters(schema):
            if name == "target" and operation.targets:
                words = " | ".join(target.value for target in operation.targets)
            rows.add_row(Text(name), Text(words), Text(default), Text(meaning))
        console.print(rows, end="")
    console.print(Text(f"--task {_example(operation)}\n", style="dim"))


def _example(operation: Operation[Any, Any]) -> str:
    pairs = ",".join(
        f"{key}={value if isinstance(value, str) and ',' not in value else json.dumps(value)}"
        for key, value in operation.example.items()
    )
    written = f"{operation.name}:{pairs}" if pairs else operation.name
    return f"'{written}'" if any(char in written for char in ' "[]{}') else written


def _parameters(schema: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and meaning of each parameter of a pydantic model's JSON schema."""
    definitions = schema.get("$defs", {})
    required = schema.get("required", ())
    for name, field in schema["properties"].items():
        default = "required" if name in required else _literal(field.get("default"))
        yield name, _type(field, definitions), default, field.get("description", "")


def _literal(value: Any) -> str:
    return json.dumps(value) if value == "" or not isinstance(value, str) else value


def _type(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "$ref" in field:
        return _type(definitions[field["$ref"].rpartition("/")[2]], definitions)
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    if "const" in field:
        return str(field["const"])
    if "anyOf" in field:
        return " or ".join(_type(choice, definitions) for choice in field["anyOf"])
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}), definitions)}"
    kind = str(field.get("type", "anything"))
    words = {"integer": "whole number", "boolean": "true | false", "string": "text", "null": "null"}
    return words.get(kind, kind) + _range(field)


def _range(field: Mapping[str, Any]) -> str:
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return "".join(f" {sign} {field[name]}" for name, sign in bounds.items() if name in field)
