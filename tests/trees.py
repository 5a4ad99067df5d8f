"""A walk whose observations are a tree of four leaves, or one vector of the same.

The leaves: a, floats (2,); b, bytes (2, 2, 1); c, a flag; d, a choice among three.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import pgjax as pg


class Seen(NamedTuple):
    a: Any
    b: Any
    c: Any
    d: Any


class Rest(NamedTuple):
    c: Any
    d: Any


# All have their leaves in one order, so that the vector is the same.
KINDS = {
    "dict": lambda a, b, c, d: {"a": a, "b": b, "c": c, "d": d},
    "tuple": lambda a, b, c, d: (a, b, c, d),
    "NamedTuple": Seen,
    "nested": lambda a, b, c, d: {"a": a, "rest": (b, Rest(c, d))},
}
SPACES = (
    pg.Box(-8.0, 8.0, (2,)),
    pg.Box(0, 255, (2, 2, 1)),
    pg.Box(0, 1, ()),
    pg.Discrete(3),
)


def look(place, *, floats=False):
    """The four leaves at a place; `floats`: as a network is to see them."""
    a = jnp.stack([place, 0.5 * place], axis=-1)
    shade = jnp.clip(127 + 40 * place, 0, 255).astype(jnp.uint8)
    b = shade[:, None, None, None] * jnp.ones((2, 2, 1), jnp.uint8)[None]
    c = place > 0
    d = jnp.clip(place.astype(jnp.int32) + 1, 0, 2)
    if not floats:
        return a, b, c, d
    one_hot = (d[:, None] == jnp.arange(3)[None]).astype(jnp.float32)
    flag = c[:, None].astype(jnp.float32)
    return a, b.reshape(-1, 4).astype(jnp.float32) / 255.0, flag, one_hot


def world(kind: str, *, step_size=1.0, only_floats=False) -> pg.Env:
    """The walk, observed as a tree of this kind, or as "flat".

    Args:
      kind: of `KINDS`, or "flat".
      step_size: of the walk; may be traced.
      only_floats: whether the tree has the leaves as floats, as "flat" has them.
    """

    def observe(place):
        leaves = look(place, floats=only_floats or kind == "flat")
        if kind == "flat":
            return jnp.concatenate(leaves, axis=-1)
        return KINDS[kind](*leaves)

    def reset(key, num_envs):
        place = jax.random.uniform(key, (num_envs,), minval=-1.0)
        return observe(place), place

    def step(key, place, action):
        noise = 0.1 * jax.random.normal(key, place.shape)
        place = place + step_size * (action - 0.5) + noise
        never = jnp.zeros(place.shape, bool)
        return observe(place), place, -jnp.abs(place), jnp.abs(place) > 2, never

    if kind == "flat":
        space: Any = pg.Box(-8.0, 255.0, (10,))
    elif only_floats:
        space = KINDS[kind](*(pg.Box(-8.0, 8.0, (n,)) for n in (2, 4, 1, 3)))
    else:
        space = KINDS[kind](*SPACES)
    return pg.Env("walk", reset, step, space, pg.Discrete(2), max_steps=6)
