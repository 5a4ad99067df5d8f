"""What every test runs under: no silent broadcasting, a warm compiler cache."""

import gc
import importlib
import os
import shutil
import signal
from pathlib import Path

import hypothesis
import pytest

# isort: split
import quick_compilation  # before JAX

# isort: split
import jax

import pgjax  # noqa: F401  before gymnax, which starts JAX: see pgjax/_internal/xla.py

jax.config.update("jax_numpy_rank_promotion", "raise")

# What a shell starts in the background ignores Ctrl-C, and what nohup starts ignores a
# closed terminal; so would children of the tests, and the tests, which are sent both.
for number, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

# Where the command keeps what it compiles; and matplotlib its list of fonts, which it
# makes now, or the first command that draws may say that it takes a moment.
os.environ.setdefault("XDG_CACHE_HOME", str(Path(__file__).parent.parent / ".cache"))
importlib.import_module("matplotlib.font_manager")

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    cache = Path(__file__).parent.parent / ".cache" / "jax"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

# JAX keeps a million objects, which are looked through again and again for garbage.
gc.set_threshold(10_000)

# No deadline: the first example of each shape pays for a compilation.
hypothesis.settings.register_profile(
    "pgjax", derandomize=True, deadline=None, max_examples=30
)
hypothesis.settings.load_profile("pgjax")

# Scripts that record data with packages that the tests do not need.
collect_ignore_glob = ["data/*"]


# The files that take longest, which come first: one that came last would have a worker
# of its own, while the others have nothing to do.
LONGEST = (
    "test_start_and_resume.py",
    "test_hosts.py",
    "test_proof.py",
    "test_periodic_evaluation.py",
    "test_faults.py",
    "test_readme.py",
    "test_cli.py",
    "test_all_envs.py",
    "test_train_command.py",
    "test_unused.py",
    "test_sweep.py",
    "test_bad_inputs.py",
    "test_extremes.py",
    "test_collectives.py",
    "test_packages.py",
    "test_precision.py",
)


def pytest_configure(config):
    config.option.loadscopereorder = False  # by the number of tests, which says little


def pytest_collection_modifyitems(items):
    last = len(LONGEST)
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, last))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """What is marked `same_bits` is compiled as its bits need it, fixtures included."""
    with quick_compilation.fused(item.get_closest_marker("same_bits") is not None):
        return (yield)


@pytest.fixture
def optimized():
    """What is compiled in the test is as for users: for one that computes much."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="session")
def small_runs(tmp_path_factory):
    """A run, a sweep, and one that was stopped before its end; to be copied."""
    from pgjax.app.cli import main
    from pgjax.app.runs.session import Session

    tiny = ["--seeds", "2", "--num-envs", "4", "--hidden", "4", "--eval-episodes", "2"]
    tiny += ["--steps", "200", "--updates-per-chunk", "2", "--checkpoint-every", "0"]
    rate = ["--learning-rate", "0.01", "--no-anneal-learning-rate"]
    grid = ["--gamma", "0.9", "0.99", "--agents-at-once", "2"]
    directory = tmp_path_factory.mktemp("runs")
    finish = Session._finish

    def finish_a_copy(session):
        shutil.copytree(directory / "sweep", directory / "parts")
        return finish(session)

    def make(name, *command):
        out = ["--quiet", "--out", str(directory / name)]
        assert main([command[0], "reinforce", *command[1:], *tiny, *out]) == 0

    with quick_compilation.fused(False):  # whichever file asks first
        make("run", "train", *rate)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Session, "_finish", finish_a_copy)
            make("sweep", "sweep", *grid)
    return directory
