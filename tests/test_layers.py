"""The floors of the house: imports point down only, and architectures need nobody."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import mobilenets.archs

PACKAGE = Path(mobilenets.archs.__file__).parents[1]
# Low to high: a module imports its own floor and those before it.
FLOORS = (
    "errors", "text", "progress", "shapes", "files", "processes", "runs", "archs", "description",
    "tasks", "data", "nn", "runtimes", "train", "measuring", "devices", "choosing", "prune",
    "deliver", "quantize", "commands", "cli", "__main__",
)  # fmt: skip
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imported(source: str, package: str) -> set[str]:
    """Every module that `source`, a module of `package`, imports, at its top or inside a function;
    `from mobilenets import nn` is mobilenets.nn."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            above = parents[: len(parents) + 1 - node.level] if node.level else []
            base = ".".join([*above, *(node.module or "").split(".")]).rstrip(".")
            names |= {f"{base}.{a.name}" for a in node.names} if base == "mobilenets" else {base}
    return names


def imports_of(path: Path) -> set[str]:
    name = module_name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return imported(path.read_text(), package)


def floor(module: str) -> int:
    """The floor of mobilenets.nn.blocks is that of nn. The package itself has none, since it hands
    out names of all floors."""
    name = module.partition(".")[2].partition(".")[0]
    assert name in FLOORS, f"{module} stands on no floor: {', '.join(FLOORS)}"
    return FLOORS.index(name)


def upward(name: str, imports: set[str]) -> set[str]:
    ours = {module for module in imports if module.split(".")[0] == "mobilenets"}
    return {module for module in ours if floor(module) > floor(name)}


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_point_down_only(path: Path):
    assert upward(module_name(path), imports_of(path)) == set()


def test_no_two_rooms_have_a_file_of_one_name_but_for_a_tasks_and_how_it_is_shown():
    names = Counter(path.stem for path in MODULES if path.stem != "__init__")
    tasks = {path.stem for path in (PACKAGE / "deliver" / "present").glob("*.py")}

    assert {name for name, count in names.items() if count > 1} == tasks - {"__init__", "presenter"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("__init__.py")), ids=module_name)
def test_no_room_gives_out_a_name_that_hides_a_module_of_its_own(path: Path):
    given = {
        alias.asname or alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    modules = {one.stem for one in path.parent.iterdir() if one.suffix == ".py" or one.is_dir()}

    assert given & modules == set()


@pytest.mark.parametrize("path", sorted((PACKAGE / "archs").glob("*.py")), ids=module_name)
def test_architectures_need_the_standard_library_only(path: Path):
    roots = {module.split(".")[0] for module in imports_of(path)}

    assert roots - sys.stdlib_module_names == {"mobilenets"} & roots


@pytest.mark.parametrize(
    ("source", "package", "modules"),
    [
        ("import mobilenets.cli as c, torch.nn", "mobilenets.nn", {"mobilenets.cli", "torch.nn"}),
        ("from mobilenets.commands import fit", "mobilenets.nn", {"mobilenets.commands"}),
        ("from mobilenets import cli, errors", "mobilenets.nn",
         {"mobilenets.cli", "mobilenets.errors"}),
        ("from . import blocks", "mobilenets.nn", {"mobilenets.nn"}),
        ("from ..cli.run import main", "mobilenets.nn", {"mobilenets.cli.run"}),
        ("from .. import cli", "mobilenets.nn", {"mobilenets.cli"}),
        ("def f():\n    import onnx", "mobilenets.nn", {"onnx"}),
    ],
)  # fmt: skip
def test_every_way_to_import_is_seen(source: str, package: str, modules: set[str]):
    assert imported(source, package) == modules


def test_an_import_that_points_up_is_found():
    assert upward("mobilenets.nn.model", {"torch", "mobilenets.archs.ops"}) == set()
    assert upward("mobilenets.nn.model", {"mobilenets.cli"}) == {"mobilenets.cli"}


@pytest.mark.parametrize("module", ["mobilenets", "mobilenets.get_arch", "mobilenets.attic.old"])
def test_a_module_on_no_floor_is_refused(module: str):
    with pytest.raises(
        AssertionError, match=rf"{module} stands on no floor: errors, text, progress, shapes, files"
    ):
        floor(module)


def test_costs_are_told_without_loading_torch():
    program = (
        "import sys, mobilenets.archs as archs;"
        "print(archs.cost(archs.get_arch('mobilenet_v2')).macs);"
        "print({'torch', 'torchvision', 'numpy', 'lightning'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert run.stderr == ""
    assert run.stdout == "300774272\nset()\n"
