import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pgjax as pg

ROOT = Path(pg.__file__).parent
# Other suites of environments, and the library that the file of each may import.
SUITES = {
    "brax": "brax",
    "craftax": "craftax",
    "envpool": "envpool",
    "gymnasium": "gymnasium",
    "jumanji": "jumanji",
    "navix": "navix",
    "pgx": "pgx",
    "playground": "mujoco_playground",
    "xminigrid": "xminigrid",
}
# Each module may import from the layers above its own; the application and the
# benchmark from themselves, too.
LAYERS = (
    {"_internal.streams"},
    {"_internal.installing", "_internal.starting"},
    {"types", "_internal.xla", "envs.suites"},
    {
        "_internal.checks",
        "_internal.collectives",
        "_internal.control_flow",
        "_internal.counters",
        "_internal.host_values",
        "_internal.later",
        "_internal.names",
        "_internal.precision",
        "_internal.replacement",
        "_internal.stepping",
        "_internal.user_parts",
        "_internal.work",
    },
    {
        "_internal.compilation",
        "_internal.host_envs",
        "_internal.meshes",
        "_internal.running_moments",
        "_internal.spaces",
        "_internal.start_states",
        "reductions",
    },
    {
        "_internal.blocks",
        "baselines",
        "distributions",
        "losses",
        "_internal.resets",
        "networks.encoding",
        "returns",
    },
    {
        "_internal.contract",
        "algorithms.annealing",
        "algorithms.minibatches",
        "networks.products",
    },
    {"_internal.host_rollout"},
    {"_internal.host_evaluate"},
    {"envs.draws", "envs.gymnax_params", "envs.named", "envs.remake", "envs.trial"},
    {"envs.adapting", "envs.check_host", "envs.probes", "envs.speed", "envs.wrappers"},
    {"envs.gymnax_envs", *(f"envs.{suite}_envs" for suite in SUITES)},
    {"envs.check"},
    {"envs.make"},
    {"envs.randomize"},
    {
        "algorithms.advantages",
        "algorithms.normalization",
        "algorithms.gradient_steps",
        "grpo",
        "networks.heads",
        "networks.initialization",
        "trust_region",
    },
    {"networks.mlp", "_internal.complete_episodes"},
    {"rollout"},
    {"algorithms.a2c", "algorithms.ppo", "algorithms.reinforce", "algorithms.trpo"},
    {"algorithms"},
    {"train", "evaluate", "checkpoints", "_internal.divergence"},
    {"_internal.agents", "_internal.sweep_axes"},
    {"sweep"},
    {"app"},
    {"bench"},
    {"app.cli"},
    {"__main__"},
)
LAYER = {module: number for number, layer in enumerate(LAYERS) for module in layer}
HOST = {"app", "app.cli", "bench", "__main__"}
EMPTY = {"__init__", "_internal", "envs", "networks"}  # packages that import nothing
CORE_DEPENDENCIES = {"jax", "jaxlib", "flax", "optax", "gymnax", "numpy"}
ORBAX = "checkpoints.py"  # which imports it when it writes or reads
FILES = sorted(ROOT.rglob("*.py"))


def module_of(path):
    """Its dotted name below pgjax; the application and the benchmark are one each."""
    return name_of(path.relative_to(ROOT).with_suffix("").parts)


def name_of(parts):
    if parts[-1] == "__init__" and len(parts) > 1:
        parts = parts[:-1]
    whole = ".".join(parts)
    return parts[0] if parts[0] in HOST and whole not in HOST else whole


def imports(path):
    """The dotted names that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            for alias in node.names:  # of a module, or modules of a package
                whole = f"{node.module}.{alias.name}"
                path = ROOT.parent.joinpath(*whole.split("."))
                module = path.is_dir() or path.with_suffix(".py").is_file()
                of_pgjax = node.module == "pgjax"
                yield whole if module or of_pgjax else node.module


def own(path):
    """The modules of pgjax that a file imports; "" for the package as a whole."""
    names = (name.split(".")[1:] for name in imports(path) if name.startswith("pgjax"))
    return {name_of(parts) if parts else "" for parts in names}


def others(path):
    return {name.split(".")[0] for name in imports(path)} - {"pgjax"}


def of(*modules):
    return [path for path in FILES if module_of(path) in modules]


def test_every_module_has_its_place_in_the_map():
    assert {module_of(path) for path in FILES} == set(LAYER) | EMPTY


def test_the_table_of_contents_is_short():
    assert len([x for x in ROOT.iterdir() if x.name != "__pycache__"]) <= 22
    for package in EMPTY - {"__init__"}:
        assert not list(imports(ROOT / package / "__init__.py"))


@pytest.mark.parametrize("path", of(*LAYER), ids=str)
def test_imports_go_one_way(path):
    module = module_of(path)
    for imported in own(path):
        if imported == "":
            assert module in HOST, "the core cannot import the package it makes up"
        else:
            above = LAYER[imported] < LAYER[module]
            within = imported == module and module in HOST
            assert above or within, f"{module} imports {imported}"


def test_algorithms_know_neither_rollout_nor_train():
    for path in (ROOT / "algorithms").glob("*.py"):
        assert not own(path) & {"rollout", "train", "evaluate", "envs.make"}


@pytest.mark.parametrize("path", of(*LAYER.keys() - HOST, "__init__"), ids=str)
def test_the_core_depends_on_little(path):
    known = CORE_DEPENDENCIES | {SUITES.get(path.stem.removesuffix("_envs"), "jax")}
    known |= {"orbax", "tensorstore"} if path.name == ORBAX else set()
    assert others(path) <= known | set(sys.stdlib_module_names)
    assert not own(path) & HOST


@pytest.mark.parametrize(
    ("library", "file"),
    [
        ("flax", "networks/mlp.py"),
        ("gymnax", "envs/gymnax_envs.py"),
        *((library, f"envs/{suite}_envs.py") for suite, library in SUITES.items()),
    ],
)
def test_one_file_knows_the_library(library, file):
    # Foreigners by intention: the benchmark's plain twin and its worker of another
    # library, and the pictures of the command.
    foreign = {ROOT / "bench" / "plain.py", ROOT / "bench/workers/sb3_worker.py"}
    foreign.add(ROOT / "app" / "play" / "gymnasium_envs.py")
    knowing = {path for path in FILES if library in others(path)}
    assert knowing - foreign == {ROOT / file}


def test_import_takes_in_no_heavy_library():
    # Only environments and networks need these, and only plots need matplotlib, which
    # must work after all, whoever imports it.
    code = """
import sys, pgjax
heavy = "gymnax flax matplotlib matplotlib.pyplot rich gymnasium seaborn pandas".split()
print([name for name in heavy if name in sys.modules])
pgjax.make_env("CartPole-v1")
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


def test_the_longest_test_files_are_there():
    import conftest

    tests = {path.name for path in Path(conftest.__file__).parent.rglob("test_*.py")}
    assert set(conftest.LONGEST) <= tests
