"""Half the time to compile, which is most of what the tests take: import it before JAX.

JAX_DISABLE_MOST_OPTIMIZATIONS=0 compiles as users do.
"""

from __future__ import annotations

import contextlib
import functools
import os

os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

# isort: split
import jax
from jax._src import compiler

QUICK = os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1"
# Without fusion emitters LLVM is given half as much to do. Later ones do not know them.
FUSION_EMITTERS = "xla_cpu_use_fusion_emitters"
FUSABLE = QUICK and jax.version.__version_info__ < (0, 11)
_without = [FUSABLE]
# Of a process that is given other flags than this one's.
FLAGS = f"--{FUSION_EMITTERS}=false" if _without[0] else ""


def with_flags(flags: str) -> str:
    """XLA_FLAGS that are to have these, too."""
    return f"{flags} {FLAGS}".strip()


def _of_children(without: bool) -> None:
    """Tells the processes that tests start, through what they inherit."""
    flags = os.environ.get("XLA_FLAGS", "").replace(FLAGS, "").strip()
    os.environ["XLA_FLAGS"] = with_flags(flags) if without else flags


_of_children(_without[0])  # and this one's own


_in_place = compiler.get_compile_options


@functools.wraps(_in_place)
def _get_compile_options(*args, env_options_overrides=None, **options):
    if FUSABLE:
        others = env_options_overrides or {}
        env_options_overrides = {FUSION_EMITTERS: not _without[0]} | others
    return _in_place(*args, env_options_overrides=env_options_overrides, **options)


compiler.get_compile_options = _get_compile_options


@contextlib.contextmanager
def fused(emitters: bool = True):
    """With fusion emitters: without them an agent's bits depend on how many there are.

    That is of the compiler, for the same program: with them they do not. It takes twice
    as long. Processes that are started meanwhile compile likewise; programs in memory
    that were compiled the other way are forgotten.
    """
    before = _without[0]
    _switch(FUSABLE and not emitters)
    try:
        yield
    finally:
        _switch(before)


def _switch(without: bool) -> None:
    if without != _without[0]:
        _without[0] = without
        _of_children(without)
        jax.clear_caches()
