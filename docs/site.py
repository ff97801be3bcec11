"""What MkDocs builds beside the written pages: the home page (the README), the reference of the parameters
and that of the code. Nothing of it is in the repository, so that it cannot drift."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from thriftune.config import Parameters

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "thriftune"
PARAMETERS = ROOT / "conf" / "base" / "parameters.yml"
Schema = Mapping[str, Any]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """MkDocs calls this once it has found the written pages."""
    pages = {"index.md": home(), "reference/parameters.md": parameters(), **modules()}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def home() -> str:
    """The README, its links as from within docs/."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.replace("](docs/", "](")


def modules() -> dict[str, str]:
    """A page a package with its modules' public names, from their docstrings; by path."""
    pages = {}
    for folder in sorted(path.parent for path in PACKAGE.rglob("__init__.py")):
        names = ["thriftune", *folder.relative_to(PACKAGE).parts]
        text = [f"# {'.'.join(names)}", _docstring(folder / "__init__.py")]
        for path in sorted(folder.glob("*.py")):
            if path.stem not in ("__init__", "__main__"):
                name = ".".join([*names, path.stem])
                text += [f"## {path.stem}", f"::: {name}\n    options:\n      show_root_heading: false"]
        pages[f"reference/code/{'.'.join(names)}.md"] = "\n\n".join(text) + "\n"
    return pages


def parameters() -> str:
    """Every parameter: its key, type, default and meaning."""
    schema = Parameters.model_json_schema()
    defaults, comments = yaml.safe_load(PARAMETERS.read_text(encoding="utf-8")), comments_of(PARAMETERS)
    text = [
        "# Parameters",
        "Every parameter with its default from `conf/base/parameters.yml`. Put your own values into "
        '`conf/local/parameters.yml`, or pass them with `--params "a.b=c,d.e=f"`.',
    ]
    section = None
    for key, kind, own, meaning in rows(schema, schema, defaults, comments):
        if key.split(".")[0] != section:
            section = key.split(".")[0]
            text.append(f"\n## {section}\n\n| key | type | default | meaning |\n| --- | --- | --- | --- |")
        text.append(f"| `{key}` | {_cell(kind)} | {_cell(own)} | {_cell(meaning)} |")
    return "\n".join(text) + "\n"


def rows(
    schema: Schema, whole: Schema, defaults: Mapping[str, Any], comments: Mapping[str, str], above: str = ""
) -> Iterator[tuple[str, str, str, str]]:
    """(dotted key, type, default, meaning) of each parameter below a section."""
    told = docstrings().get(schema["title"], {})
    for name, own in schema["properties"].items():
        key, target = f"{above}{name}", _resolve(own, whole)
        if "properties" in target:
            yield from rows(target, whole, defaults.get(name, {}), comments, f"{key}.")
            continue
        meaning = told.get(name) or comments.get(key)
        if not meaning:
            raise PluginError(f"nothing says what the parameter {key} means: give it a docstring")
        default = defaults.get(name, own.get("default"))
        if name == "encoders":
            default = "see conf/base/parameters_encoders.yml"
        yield key, type_of(target, whole), f"`{_yaml(default)}`", meaning


def type_of(schema: Schema, whole: Schema) -> str:
    """A JSON schema in a reader's words: kind, choices, bounds."""
    schema = _resolve(schema, whole)
    if kinds := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(type_of(kind, whole) for kind in kinds))
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = {
        "integer": "whole number",
        "number": "number",
        "boolean": "true or false",
        "string": "text",
        "array": "list",
        "object": "mapping",
        "null": "null",
    }.get(schema.get("type", ""), "any")
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[name]}" for name, sign in signs.items() if name in schema]
    return " ".join([kind, ", ".join(bounds)]).strip()


def docstrings() -> dict[str, dict[str, str]]:
    """What stands below each field of the parameters' classes: class name to field to text."""
    found: dict[str, dict[str, str]] = {}
    for path in (PACKAGE / "config").glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                inherited = [found.get(base.id, {}) for base in node.bases if isinstance(base, ast.Name)]
                own = {
                    field.target.id: " ".join(ast.literal_eval(told.value).split())
                    for field, told in zip(node.body, node.body[1:], strict=False)
                    if isinstance(field, ast.AnnAssign)
                    and isinstance(field.target, ast.Name)
                    and isinstance(told, ast.Expr)
                    and isinstance(told.value, ast.Constant)
                }
                found[node.name] = {**{key: text for each in inherited for key, text in each.items()}, **own}
    return found


def comments_of(path: Path) -> dict[str, str]:
    """The comment behind each key of a YAML file, and its lines below, by dotted key."""
    text = path.read_text(encoding="utf-8")
    lines = [line.partition("# ") for line in text.splitlines()]
    found = {}
    root = yaml.compose(text)
    assert root is not None
    for key, number in _key_lines(root):
        told = [lines[number][2]]
        for before, mark, comment in lines[number + 1 :]:
            if before.strip() or not mark or len(before) < 20:
                break
            told.append(comment)
        found[key] = " ".join(told)
    return found


def _key_lines(node: yaml.Node, above: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield f"{above}{key.value}", key.start_mark.line
            yield from _key_lines(value, f"{above}{key.value}.")


def _resolve(schema: Schema, whole: Schema) -> Schema:
    name = schema.get("$ref")
    return schema if name is None else {**whole["$defs"][name.rpartition("/")[2]]}


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def _yaml(value: Any) -> str:
    said = yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False)
    return re.sub(r"\n\.\.\.$", "", said.strip())


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;") if "`" not in text else text.replace("|", "\\|")
