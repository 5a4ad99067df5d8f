import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pgjax as pg

ROOT = Path(pg.__file__).parent
# Each module may import from the layers above its own; a package, from itself too.
LAYERS = (
    {"streams"},
    {"starting"},
    {"types", "xla"},
    {
        "checks",
        "batching",
        "collectives",
        "counters",
        "stepping",
        "precision",
        "parts",
        "replacement",
    },
    {"weighted", "meshes", "running_moments", "compilation", "start_states"},
    {"distributions", "returns", "losses", "baselines", "blocks", "minibatches"},
    {"contract"},
    {
        "critics",
        "heads",
        "products",
        "initialization",
        "learners",
        "groups",
        "normalization",
        "natural_gradient",
    },
    {"networks", "envs", "annealing"},
    {"rollout"},
    {"algorithms"},
    {"train", "evaluate", "checkpoints", "divergence"},
    {"agents", "axes"},
    {"sweep"},
    {"lab"},
    {"bench"},
    {"argument_types"},
    {"arguments"},
    {"cli"},
    {"__main__"},
)
LAYER = {module: number for number, layer in enumerate(LAYERS) for module in layer}
HOST = {"lab", "bench", "argument_types", "arguments", "cli", "__main__"}
CORE_DEPENDENCIES = {"jax", "jaxlib", "flax", "optax", "gymnax", "numpy"}
ORBAX = "checkpoints.py"  # which imports it when it writes or reads
FILES = sorted(ROOT.rglob("*.py"))


def module_of(path):
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imports(path):
    """The dotted names that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            if node.module == "pgjax":
                yield from (f"pgjax.{alias.name}" for alias in node.names)
            else:
                yield node.module


def own(path):
    """The modules of pgjax that a file imports; "" for the package as a whole."""
    names = (name.split(".") for name in imports(path))
    return {(parts + [""])[1] for parts in names if parts[0] == "pgjax"}


def others(path):
    return {name.split(".")[0] for name in imports(path)} - {"pgjax"}


def of(*modules):
    return [path for path in FILES if module_of(path) in modules]


def test_every_module_has_its_place_in_the_map():
    assert {module_of(path) for path in FILES} - {"__init__"} <= set(LAYER)


@pytest.mark.parametrize("path", of(*LAYER), ids=lambda path: path.stem)
def test_imports_go_one_way(path):
    module = module_of(path)
    for imported in own(path):
        if imported == "":
            assert module in HOST, "the core cannot import the package it makes up"
        else:
            above = LAYER[imported] < LAYER[module]
            within = imported == module and path.parent != ROOT
            assert above or within, f"{module} imports {imported}"


def test_algorithms_know_neither_rollout_nor_train():
    for path in of("algorithms"):
        assert not own(path) & {"rollout", "train", "evaluate", "envs"}


@pytest.mark.parametrize(
    "path", of(*LAYER.keys() - HOST, "__init__"), ids=lambda path: path.stem
)
def test_the_core_depends_on_little(path):
    known = CORE_DEPENDENCIES
    known |= {"orbax", "tensorstore"} if path.name == ORBAX else set()
    assert others(path) <= known | set(sys.stdlib_module_names)
    assert not own(path) & HOST


@pytest.mark.parametrize(
    ("library", "file"), [("flax", "networks.py"), ("gymnax", "envs.py")]
)
def test_one_file_knows_the_library(library, file):
    # The benchmark's plain twin is a foreigner by intention.
    knowing = {path for path in FILES if library in others(path)}
    assert knowing - {ROOT / "bench" / "plain.py"} == {ROOT / file}


def test_import_takes_in_no_heavy_library():
    # Only environments and networks need these, and only plots need matplotlib, which
    # must work after all, whoever imports it.
    code = """
import sys, pgjax
heavy = "gymnax flax matplotlib matplotlib.pyplot rich gymnasium seaborn pandas".split()
print([name for name in heavy if name in sys.modules])
pgjax.make_env
plots = ("matplotlib.pyplot", "seaborn", "pandas")
print([name for name in plots if name in sys.modules])
import matplotlib.pyplot as plt
print(plt.Figure.__module__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[]", "[]", "matplotlib.figure"], done.stderr


def test_every_public_name_resolves():
    for name in pg.__all__:
        assert getattr(pg, name) is not None
    assert {name for name in dir(pg) if not name.startswith("__")} == set(pg.__all__)


def test_public_names_are_sorted_and_unique():
    assert list(pg.__all__) == sorted(set(pg.__all__))


def test_lazy_names_are_public():
    assert set(pg._LAZY) <= set(pg.__all__)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'reinforced'"):
        pg.reinforced  # noqa: B018
