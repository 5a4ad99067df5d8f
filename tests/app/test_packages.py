"""Packages that are missing or broken are told of before any work, in one line."""

import ast
import importlib.abc
import json
import pathlib
import re
import runpy
import subprocess
import sys
import tomllib

import pytest
from turns import slow

import pgjax as pg
from pgjax._internal import installing
from pgjax.app import packages
from pgjax.app.cli import main
from pgjax.app.errors import UsageError
from pgjax.app.runs import loggers, run_record

ROOT = pathlib.Path(pg.__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TINY = ["--seeds", "2", "--num-envs", "4", "--hidden", "8", "--eval-episodes", "2"]
TRAIN = ["train", *TINY, "--steps", "400", "--quiet"]
SWEEP = ["sweep", *TINY, "--steps", "400", "--learning-rate", "0.1", "0.2", "--quiet"]


class Breaking(importlib.abc.MetaPathFinder):
    """Makes the import of a module raise what it would beside a wrong version."""

    def __init__(self, name):
        self._name = name

    def find_spec(self, name, path=None, target=None):
        if name == self._name:
            raise AttributeError("module 'jax' has no attribute 'gone'")


@pytest.fixture(params=["missing", "broken"])
def damage(request, monkeypatch):
    """Damages a package, and forgets the modules of ours that have imported it."""

    def do(name, *ours):
        for module in (name, *ours):
            monkeypatch.delitem(sys.modules, module, raising=False)
        if request.param == "missing":
            monkeypatch.setitem(sys.modules, name, None)
        else:
            monkeypatch.setattr(sys, "meta_path", [Breaking(name), *sys.meta_path])

    return do


LATE = [
    ("orbax.checkpoint", ()),
    ("matplotlib.axes", ("pgjax.app.analysis.learning_curve",)),
]


@pytest.mark.parametrize(("name", "ours"), LATE)
def test_what_the_end_of_training_needs_is_named(name, ours, damage):
    damage(name, *ours)
    with pytest.raises(UsageError, match=r"training needs it at its end: .*pip check"):
        packages.import_late()


@pytest.mark.parametrize("command", [TRAIN, SWEEP], ids=["train", "sweep"])
def test_training_does_not_begin_without_what_its_end_needs(
    command, tmp_path, monkeypatch, capsys
):
    finders = [Breaking("orbax.checkpoint"), *sys.meta_path]
    monkeypatch.setattr(sys, "meta_path", finders)
    monkeypatch.delitem(sys.modules, "orbax.checkpoint", raising=False)
    out = tmp_path / "run"
    assert main([*command, "--out", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pgjax: training needs it at its end: AttributeError")
    assert not out.exists()


@pytest.mark.parametrize("log", sorted(set(loggers.PACKAGES) - {"none"}))
@pytest.mark.parametrize("command", [TRAIN, SWEEP], ids=["train", "sweep"])
def test_a_logger_names_the_extra_that_brings_it(
    command, log, damage, tmp_path, capsys
):
    damage(loggers.PACKAGES[log])
    out = tmp_path / "run"
    assert main([*command, "--log", log, "--out", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"pgjax: --log {log} needs {loggers.PACKAGES[log]}: ")
    assert line.endswith(f"pip install 'pgjax-rl[{log}]'")
    assert not out.exists()


# What neither training nor its end needs; matplotlib and gymnax need the others.
UNUSED = ["pandas", "seaborn", "flatbuffers", "pygame", "pyarrow", "tensorboardX"]
# Runs a command; prints the packages that were imported once training had begun.
WATCHED = """
import json, sys
class Missing:
    def find_spec(name, path=None, target=None):
        if name in json.loads(sys.argv[1]):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing)
from pgjax.app.cli import main
from pgjax.app.runs import host_loop as trainer
begin, before = trainer.train_agents, set()
def train_agents(*arguments, **options):
    before.update(sys.modules)
    return begin(*arguments, **options)
trainer.train_agents = train_agents
code = main(sys.argv[2:])
late = {name.partition(".")[0] for name in set(sys.modules) - before}
late -= {name.partition(".")[0] for name in before} | set(sys.stdlib_module_names)
print(json.dumps(sorted(name for name in late if not name.startswith("_"))))
sys.exit(code)
"""


def watched(command, out, without=()):
    return subprocess.run(
        [sys.executable, "-c", WATCHED, json.dumps(without), *command, "--out", out],
        capture_output=True,
        text=True,
    )


def test_training_does_without_what_it_does_not_need(tmp_path):
    out = tmp_path / "run"
    done = watched(TRAIN, out, UNUSED)
    assert done.returncode == 0, done.stderr
    assert {"params.npz", "summary.json", "learning_curve.png", "metrics.csv"} <= {
        path.name for path in out.iterdir()
    }


@pytest.mark.parametrize("command", [TRAIN, slow(SWEEP)], ids=["train", "sweep"])
def test_no_package_is_imported_after_training_has_begun(command, tmp_path):
    log = ["--log", "parquet", "tensorboard"]
    # Pandas, if there is one, is taken along by pyarrow, which does without.
    done = watched([*command, *log], tmp_path / "run", ["pandas"])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("matplotlib", ["train"]),
        ("gymnasium", ["train"]),
        ("flax", ["train"]),
        ("rich", ["envs"]),
        ("PIL", ["render", "run"]),
        ("scipy", ["compare", "run", "run"]),
        ("matplotlib", ["report", "run"]),
    ],
)
def test_a_missing_package_is_one_line(name, command, tmp_path):
    code = f"import sys; sys.modules[{name!r}] = None; from pgjax.app.cli import main; "
    code += f"sys.exit(main({command}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("pgjax: ")
    assert name in line
    assert not list(tmp_path.iterdir())


def test_an_import_of_our_own_that_fails_is_no_fault_of_the_user(monkeypatch):
    def fails(arguments):
        from pgjax.app.errors import no_such  # noqa: F401

    monkeypatch.setattr("pgjax.app.cli._dispatch", fails)
    with pytest.raises(ImportError, match="no_such"):
        main(["envs"])


def test_the_distribution_has_one_name():
    assert PROJECT["name"] == installing.DISTRIBUTION
    assert PROJECT["scripts"] == {"pgjax": "pgjax.app.cli:command"}
    assert run_record.versions()["pgjax"] == pg.__version__


def test_every_extra_that_is_named_exists():
    extras = set(PROJECT["optional-dependencies"])
    assert set(loggers.PACKAGES) - {"none"} <= extras
    assert "bench" in extras


def test_nothing_tells_to_install_what_another_project_owns():
    told = [ROOT / "README.md", *(ROOT / "pgjax").rglob("*.py")]
    bare = re.compile(r"pip install\b[^\n`&|;]*\bpgjax(?!-rl\b)(\[|['\"\s`]|$)", re.M)
    assert bare.search("pip install 'pgjax[bench]'")
    assert bare.search("`pip install -U pgjax`")
    assert not bare.search("pip install 'pgjax-rl[bench]'")
    for path in told:
        assert not bare.search(path.read_text()), path


lower_bounds = runpy.run_path(str(ROOT / ".ci" / "lower_bounds.py"))["lower_bounds"]


def test_every_dependency_has_a_lower_bound():
    bounds = lower_bounds(PROJECT)
    assert bounds["orbax-checkpoint"] == "0.11.22"
    assert {"jax", "numpy", "six", "pyarrow"} <= set(bounds)


@pytest.mark.parametrize(
    ("dependencies", "message"),
    [
        (["jax"], "jax has no lower bound"),
        (["jax<0.12"], "jax<0.12 has no lower bound"),
        (["jax>=0.8", "numpy>=2", "jax>=0.9"], "jax has two lower bounds"),
    ],
)
def test_bounds_that_cannot_be_tested_are_told(dependencies, message):
    with pytest.raises(SystemExit, match=message):
        lower_bounds(PROJECT | {"dependencies": dependencies})


def imported_by_us():
    """The distributions that pgjax/ imports, at the top of a file or in a function."""
    named = {"orbax": "orbax-checkpoint", "PIL": "pillow", "jaxlib": "jax"}
    named["stable_baselines3"] = "stable-baselines3"
    named["mujoco_playground"] = "playground"
    # The second is beside the script that imports it, the third in every notebook.
    ours = {"pgjax", "protocol", "IPython"}
    found = set()
    for path in (ROOT / "pgjax").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module).partition(".")[0])
    return {named.get(x, x) for x in found - ours - set(sys.stdlib_module_names)}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    extras = {k: x for k, x in PROJECT["optional-dependencies"].items() if k != "dev"}
    declared = set(lower_bounds(PROJECT | {"optional-dependencies": extras}))
    for_others = {"six", "flatbuffers"}  # of gymnax and of jax.export
    assert imported_by_us() == declared - for_others


def test_the_lower_bounds_are_tested_by_tests_that_are_there():
    script = (ROOT / ".ci" / "lowest").read_text()
    (words,) = re.findall(r"tests=\((tests.*?)\)\n", script, re.DOTALL)
    listed = subprocess.run(
        ["bash", "-c", f"echo {' '.join(words.split())}"],
        capture_output=True,
        text=True,
        check=True,
    )
    names = listed.stdout.split()
    assert len(names) > 5
    assert [name for name in names if not (ROOT / name).exists()] == []
