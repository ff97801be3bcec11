"""How the source is divided: `make shape` prints it for this checkout and, given a commit, for that one too.

python -m tests.shape [commit]
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from pathlib import Path

PACKAGE = "thriftune"
LOOSE = re.compile(r"\bdict\[str, Any\]|\bMapping\[str, Any\]")
"""Values whose fields a reader has to guess."""


def measure(source: Path) -> dict[str, str]:
    """Figures of the source below a folder that has the package."""
    modules = {
        ".".join((PACKAGE, *path.relative_to(source / PACKAGE).with_suffix("").parts)): path
        for path in sorted((source / PACKAGE).rglob("*.py"))
    }
    texts = {name: path.read_text(encoding="utf-8") for name, path in modules.items()}
    trees = {name: ast.parse(text) for name, text in texts.items()}
    lines = {name: text.count("\n") for name, text in texts.items()}
    rooms: Counter[str] = Counter()
    for name in modules:
        parts = name.split(".")
        rooms[parts[1] if len(parts) > 2 else "(top)"] += lines[name]
    total = sum(lines.values())
    room, most = max(((room, count) for room, count in rooms.items() if room != "(top)"), key=lambda x: x[1])
    longest = max(lines, key=lines.__getitem__)
    graph = {name: _imports(tree, modules.keys()) for name, tree in trees.items()}
    widest = max(graph, key=lambda name: len(graph[name]))
    functions = [node for tree in trees.values() for node in _public_functions(tree)]
    documented = sum("Args:" in (ast.get_docstring(node) or "") for node in functions)
    return {
        "lines": f"{total:,}",
        "lines of code": f"{sum(map(_code_lines, texts.values())):,}",
        "packages": str(len(rooms) - 1),
        "biggest package": f"{room}, {100 * most / total:.0f} %",
        "biggest module": f"{longest.removeprefix(PACKAGE + '.')}, {lines[longest]} lines",
        "import circles": str(len(_circles(graph))),
        "most imports of a module": f"{widest.removeprefix(PACKAGE + '.')}, {len(graph[widest])}",
        "dict[str, Any] and the like": str(sum(len(LOOSE.findall(text)) for text in texts.values())),
        "imports of ours inside functions": str(sum(map(_inner_imports, trees.values()))),
        "public functions with arguments, documented": f"{documented} of {len(functions)}",
        "references to a specification": str(
            sum(len(re.findall(r"\bSPEC \d", text)) for text in texts.values())
        ),
    }


def _code_lines(text: str) -> int:
    """Lines that are neither blank nor comment nor docstring."""
    tree = ast.parse(text)
    documented = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    return sum(
        number not in documented and bool(line.strip()) and not line.strip().startswith("#")
        for number, line in enumerate(text.splitlines(), start=1)
    )


def _imports(tree: ast.Module, known: object) -> set[str]:
    """Modules of ours that are imported when a module is."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else str(node.module))  # type: ignore[operator]
    return found


def _inner_imports(tree: ast.Module) -> int:
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE)
    }
    return len(inside)


def _public_functions(tree: ast.Module) -> list[ast.FunctionDef]:
    """Functions and methods with arguments whose names do not begin with an underscore."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef) and not getattr(node, "name", "").startswith("_"):
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
                    names = {argument.arg for argument in item.args.args + item.args.kwonlyargs}
                    if names - {"self", "cls"}:
                        found.append(item)
    return found


def _circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other (Tarjan, 1972)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in graph.get(name, ()):
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(group)

    for name in graph:
        if name not in order:
            visit(name)
    return found


def at_commit(commit: str, folder: Path) -> Path:
    """The source as of a commit, unpacked into a folder."""
    packed = subprocess.run(["git", "archive", commit, "src"], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder / "src"


def main() -> None:
    """Print the figures side by side."""
    columns = {"here": measure(Path("src"))}
    for commit in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            columns = {commit: measure(at_commit(commit, Path(folder))), **columns}
    print("| | " + " | ".join(columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    for name in columns["here"]:
        print(f"| {name} | " + " | ".join(column[name] for column in columns.values()) + " |")


if __name__ == "__main__":
    main()
