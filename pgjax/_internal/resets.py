"""Which way of drawing start states suits an environment and a device."""

from __future__ import annotations

from functools import partial
from typing import Literal

import jax

from pgjax._internal.start_states import (
    Scan,
    bytes_of_starts,
    with_fresh_ones,
    with_pool,
    with_spares,
)
from pgjax._internal.work import work_of
from pgjax._internal.xla import on_cpu
from pgjax.types import Env

Resets = Literal["auto", "fresh", "spares", "pooled"]

# On an accelerator, asking at each step whether a start is needed takes as long as
# computing about so many numbers.
A_QUESTION = 2**27
# Fresh starts of one step that may lie in an accelerator's memory beside all else.
MOST_BYTES = 2**29


def scan_of(resets: Resets, env: Env, num_envs: int, pool_size: int) -> Scan:
    """The function of `start_states` that these resets are made by."""
    if resets == "auto":
        resets = independent_resets(env, num_envs)
    if resets == "fresh":
        return with_fresh_ones
    if resets == "spares":
        return with_spares
    return partial(with_pool, size=pool_size)


def independent_resets(env: Env, num_envs: int) -> Literal["fresh", "spares"]:
    """Fresh starts where drawing them takes less than asking whether they are needed.

    That is on an accelerator, for environments whose resets are small. Nothing is
    computed.
    """
    if on_cpu():
        return "spares"
    if bytes_of_starts(env, num_envs) > MOST_BYTES:
        return "spares"
    work = work_of(lambda key: env.reset(key, num_envs), jax.random.key(0))
    return "fresh" if work <= A_QUESTION else "spares"
