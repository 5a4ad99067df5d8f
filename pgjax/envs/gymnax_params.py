"""The parameters of a gymnax environment: fields of a dataclass, changed by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pgjax._internal.names import unknown_name
from pgjax._internal.user_parts import is_array

# Of gymnax's own, fields that follow from others, and how; it computes them but once.
_DERIVED: dict[str, dict[str, tuple[tuple[str, str], Callable[[Any, Any], Any]]]] = {
    "gymnax.environments.classic_control.cartpole": {
        "total_mass": (("masscart", "masspole"), lambda cart, pole: cart + pole),
        "polemass_length": (("masspole", "length"), lambda mass, length: mass * length),
    }
}
LIMIT = "max_steps_in_episode"


def changed(name: str, default: Any, values: Mapping[str, Any]) -> Any:
    """Params with other values of some fields.

    What gymnax computes from a field, such as the mass of CartPole's pole times its
    length, is computed anew, unless it is among the values itself.

    Args:
      name: of the environment, for messages.
      default: its params, a dataclass.
      values: by field; traced or not.

    Raises:
      ValueError: for a field that there is not, with the nearest ones; for the time
        limit; for what is not finite, or of another shape.
      TypeError: for a value of another kind than the field's.
    """
    if not values:
        return default
    fields = [x.name for x in dataclasses.fields(default)]
    for field in values:
        if field == LIMIT:
            raise ValueError(
                f"{LIMIT} is how many steps there is room for, and no parameter: say "
                f"time_limit={shown(values[field])}"
            )
        if field not in fields:
            known = [x for x in fields if x != LIMIT]
            raise ValueError(unknown_name(f"{name} has no parameter", field, known))
    new = {k: _like(name, k, getattr(default, k), x) for k, x in values.items()}
    params = default.replace(**new)
    for field, (sources, derive) in _DERIVED.get(type(default).__module__, {}).items():
        if field not in values and {*sources} & {*values}:
            value = derive(*(getattr(params, source) for source in sources))
            params = params.replace(**{field: value})
    return params


def _like(name: str, field: str, default: Any, value: Any) -> Any:
    """A value of the kind of a field's default; what is known stays Python's own."""
    told = f"{name}: {field}"
    kind = jnp.result_type(default)
    if not is_array(value):
        raise TypeError(
            f"{told} must be a number, such as {shown(default)}, got {value!r}"
        )
    given, shape = jnp.result_type(value), np.shape(value)
    if shape != np.shape(default):
        raise ValueError(
            f"{told} must have shape {np.shape(default)}, as {shown(default)} has, "
            f"got {shape}; map over several values with jax.vmap or pg.sweep"
        )
    flags = [jnp.issubdtype(x, jnp.bool_) for x in (kind, given)]
    if any(flags):
        if not all(flags):
            right = "True or False" if flags[0] else "a number"
            raise TypeError(f"{told} must be {right}, got {shown(value)}")
        return value
    if isinstance(value, jax.core.Tracer):
        if jnp.issubdtype(kind, jnp.integer) and not jnp.issubdtype(given, jnp.integer):
            raise TypeError(
                f"{told} must be an integer, such as {shown(default)}, got a traced "
                f"{given}; give each of its values in a program of its own"
            )
        return jnp.asarray(value, kind)
    known = np.asarray(value)
    if not np.isfinite(known).all():
        raise ValueError(f"{told} must be finite, got {shown(value)}")
    if jnp.issubdtype(kind, jnp.integer) and (known != np.round(known)).any():
        raise TypeError(f"{told} must be an integer, got {shown(value)}")
    if shape:
        return jnp.asarray(known, kind)
    return int(known) if jnp.issubdtype(kind, jnp.integer) else float(known)


def shown(value: Any) -> str:
    """A value in few words."""
    if isinstance(value, jax.core.Tracer):
        return f"a traced {value.dtype}"
    if np.ndim(value):
        return str(np.asarray(value).tolist())
    plain = np.asarray(value).item()
    return f"{plain:g}" if isinstance(plain, float) else str(plain)
