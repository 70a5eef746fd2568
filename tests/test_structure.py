"""What holds for the source as a whole."""

import ast
import pkgutil
import re
from graphlib import TopologicalSorter
from pathlib import Path

import autoup

SOURCE = Path(autoup.__file__).parent
MODULES = {
    ".".join(["autoup", *path.relative_to(SOURCE).with_suffix("").parts]): ast.parse(
        path.read_text()
    )
    for path in SOURCE.rglob("*.py")
}
# Who may import whom. Everybody may import `checks`, `errors`, `internals` and `versions`; the
# facade and `__main__` stand above all of them.
BELOW = {
    "checks": set(),
    "errors": set(),
    "kernels": set(),
    "internals": set(),
    "versions": set(),
    "init": {"kernels"},
    "svg": set(),
    "table": set(),
    "progress": set(),
    "solving": {"svg", "table"},
    "layers": {"init", "kernels", "solving"},
    "inspecting": {"layers"},
    "measuring": {"inspecting", "solving", "svg"},
    "capturing": {"inspecting"},
    "decoding": {"capturing", "inspecting", "layers", "solving", "init", "table", "progress"},
    "unets": {
        "decoding",
        "capturing",
        "inspecting",
        "layers",
        "solving",
        "table",
        "svg",
        "progress",
    },
    "repairing": {"inspecting", "layers", "solving", "init", "progress"},
    "auditing": {
        "repairing",
        "measuring",
        "inspecting",
        "layers",
        "solving",
        "svg",
        "table",
        "progress",
    },
    "commands": {"auditing", "repairing", "inspecting", "solving", "unets"},
}


def imports(tree):
    """Yield the full name of every module that is imported, or of what is imported from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (
                full if (full := f"{node.module}.{alias.name}") in MODULES else node.module
                for alias in node.names
            )
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def internal(name):
    return {full for full in imports(MODULES[name]) if full.split(".")[0] == "autoup"}


def test_wings_import_only_those_below_them():
    seen = {name.split(".")[1] for name in MODULES} - {"__init__", "__main__"}
    assert seen == {*BELOW}
    for name in MODULES:
        wing = name.split(".")[1]
        allowed = BELOW.get(wing, {*BELOW}) | {wing, "checks", "errors", "internals", "versions"}
        assert {full.split(".")[1] for full in internal(name)} <= allowed, name


def test_imports_point_one_way():
    TopologicalSorter({name: internal(name) for name in MODULES}).prepare()  # Raises the cycle.


def test_plain_integers_import_no_torch():
    for name, tree in MODULES.items():
        if name.split(".")[1] in ("checks", "errors", "solving", "svg", "table"):
            assert not [each for each in imports(tree) if each.split(".")[0] == "torch"], name


def test_modules_and_functions_stay_small():
    for name, tree in MODULES.items():
        path = SOURCE.joinpath(*name.split(".")[1:]).with_suffix(".py")
        assert len(path.read_text().splitlines()) <= 350, name
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                doc = node.body[0] if ast.get_docstring(node) is not None else None
                length = node.end_lineno - node.lineno + 1
                length -= doc.end_lineno - doc.lineno + 1 if doc else 0
                assert length <= 40, f"{name}.{node.name}"


def test_public_names_are_sorted_documented_and_shown_by_an_example():
    assert autoup.__all__ == sorted(autoup.__all__)
    for name in autoup.__all__:
        if name not in ("__version__", "init"):
            assert ">>>" in getattr(autoup, name).__doc__, name


def test_no_file_has_the_name_of_a_public_function():
    functions = {name for name in autoup.__all__ if callable(getattr(autoup, name))}
    assert not functions & {name.split(".")[-1] for name in MODULES}


def test_the_architecture_page_names_what_is_there():
    page = (SOURCE.parents[1] / "docs" / "architecture.md").read_text()
    wings = "|".join(BELOW)
    named = re.findall(rf"`((?:{wings})\.[\w.]+)`", page)
    assert len(named) > 40
    for name in named:
        assert pkgutil.resolve_name(f"autoup.{name}"), name
