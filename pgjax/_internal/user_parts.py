"""Words about a user's parts: what one gave, and what it must give."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pgjax.types import Box, Discrete


class PartError(TypeError, ValueError):
    """A part that is not what it must be."""


class OnlyOnAMeshError(Exception):
    """A part asks which device it is on, and can be traced on a device's share only."""


def shapes(part: str, fn: Any, *arguments: Any, says: str | None = None) -> Any:
    """What `fn` returns, as shapes and types; what it raises names the part."""
    with telling(part, says or told(arguments)[1:-1]):
        return jax.eval_shape(fn, *arguments)


@contextlib.contextmanager
def telling(part: str, arguments: str) -> Iterator[None]:
    """Says of an error which part raised it, and what it was called with."""
    try:
        yield
    except (PartError, FloatingPointError, jax.errors.JaxRuntimeError):
        raise  # told already, or not about what the part is
    except NameError as error:
        if "unbound axis name" in str(error):
            raise OnlyOnAMeshError from error
        raise _failed(part, arguments, error) from error
    except Exception as error:  # anything that a user's code raises
        raise _failed(part, arguments, error) from error


def _failed(part: str, arguments: str, error: Exception) -> PartError:
    reason = _short(" ".join(str(error).split()), 400)
    return PartError(
        f"{part} failed when it was called with ({arguments}): "
        f"{type(error).__name__}: {reason}"
    )


def check_parts(part: str, result: Any, right: str, number: int) -> None:
    """Raises unless `result` is a tuple of so many parts."""
    if not isinstance(result, tuple | list):
        raise PartError(f"{part} must return {right}, got {told(result)}")
    if len(result) != number:
        raise PartError(
            f"{part} must return {right}, got {len(result)} values: {told(result)}"
        )


def check_array(
    part: str, name: str, found: Any, shape: tuple[int, ...], what: str
) -> None:
    """Raises unless `found` is one array of that shape; `what` says of what."""
    if not is_array(found):
        raise PartError(f"{part}: {name} must be one array, got {told(found)}")
    if np.shape(found) == shape:
        return
    remedy = ""
    if np.shape(found) == (*shape, 1):
        remedy = f"; write {name}.squeeze(-1)"
    elif np.shape(found) == shape[1:]:
        remedy = "; it has no axis of environments: jax.vmap adds one"
    raise PartError(
        f"{part}: {name} must be of shape {shape} ({what}), got {told(found)}{remedy}"
    )


def accepted(update: Callable[..., Any], extra: dict[str, Any]) -> dict[str, Any]:
    """The arguments that a function takes by name."""
    parameters = inspect.signature(update).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return extra
    return {name: x for name, x in extra.items() if name in parameters}


def check_same(part: str, like: str, name: str, before: Any, after: Any) -> None:
    """Raises unless two pytrees have the same structure, shapes and types."""
    differs = first_difference(before, after, name)
    if differs:
        raise PartError(
            f"{part} must return a {name} of the structure, shapes and types of "
            f"{like}; {name}{differs}"
        )


def first_difference(before: Any, after: Any, name: str = "") -> str:
    """In words, where two pytrees differ in structure, shape or type; "" if nowhere.

    What is told of a leaf follows the tree's name, which may be given for other words.
    """
    old_structure: Any = jax.tree.structure(before)
    if old_structure != jax.tree.structure(after):
        where = structure_difference(name, before, after)
        return f" was {told(before)} and became {told(after)}{where}"
    leaves = jax.tree_util.tree_leaves_with_path(before)
    for (path, old), new in zip(leaves, jax.tree.leaves(after), strict=True):
        if _kind(old) != _kind(new):
            return f"{named('', path)} was {told(old)} and became {told(new)}"
    return ""


def structure_difference(
    name: str, wanted: Any, found: Any, is_leaf: Callable[[Any], bool] = lambda _: False
) -> str:
    """In words, the first place where two trees differ in structure; "" if nowhere.

    Args:
      name: of the tree.
      wanted: a tree.
      found: the tree that differs.
      is_leaf: of leaves of `wanted` that would be trees themselves.
    """
    (old, old_structure), (new, new_structure) = (
        _one_level(tree, is_leaf) for tree in (wanted, found)
    )
    if any([path for path, _ in level] == [()] for level in (old, new)):
        same = old_structure == new_structure
        return "" if same else f"; {name or 'it'} is {told(found)}, not {told(wanted)}"
    if type(wanted) is not type(found):
        kinds = type(found).__name__, type(wanted).__name__
        return f"; {name or 'it'} is a {kinds[0]}, not a {kinds[1]}"
    before, after = ({str(path): path for path, _ in level} for level in (old, new))
    for only, other, told_of in ((before, after, "missing"), (after, before, "new")):
        lacking = [path for key, path in only.items() if key not in other]
        if lacking:
            return f"; {named(name, lacking[0])} is {told_of}"
    deeper = (
        structure_difference(named(name, path), x, y, is_leaf)
        for (path, x), (_, y) in zip(old, new, strict=True)
    )
    return next(filter(None, deeper), "")


def _one_level(tree: Any, is_leaf: Callable[[Any], bool]) -> tuple[Any, Any]:
    """What is right below a node of a tree, with paths; and the node's structure."""
    return jax.tree_util.tree_flatten_with_path(
        tree, is_leaf=lambda x: x is not tree or is_leaf(x)
    )


def _kind(leaf: Any) -> tuple[tuple[int, ...], Any]:
    dtype = leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf)
    return np.shape(leaf), dtype


def check_leaves(part: str, name: str, tree: Any) -> None:
    """Raises unless all leaves are arrays, or Python numbers."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not is_array(leaf):
            raise PartError(
                f"{part} must return a {name} of arrays; {named(name, path)} is of "
                f"type {type(leaf).__name__}"
            )


def check_distribution(part: str, found: Any, methods: tuple[str, ...]) -> None:
    """Raises unless `found` is a pytree with the methods of a distribution."""
    missing = [name for name in methods if not callable(getattr(found, name, None))]
    if missing:
        raise PartError(
            f"{part} must give a distribution, such as pg.Categorical(logits), with "
            f"{', '.join(methods)}; got {told(found)}, without {', '.join(missing)}"
        )
    if any(leaf is found for leaf in jax.tree.leaves(found)):
        raise PartError(
            f"{part} gives a {type(found).__name__}, which is no pytree: make it a "
            "NamedTuple, or register it with jax.tree_util.register_dataclass"
        )


def is_distribution(found: Any) -> bool:
    """Whether it looks like one, also where methods are missing."""
    return callable(getattr(found, "log_prob", None))


def is_array(leaf: Any) -> bool:
    """Whether it is an array, a Python number, or the shape of an array."""
    if isinstance(leaf, np.ndarray | np.generic):
        return jnp.issubdtype(leaf.dtype, np.number) or leaf.dtype == bool
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct | float | int)


def named(name: str, path: Any) -> str:
    """The leaf of a pytree, as one would write it."""
    return name + jax.tree_util.keystr(path)


def told(x: Any) -> str:
    """A pytree in few words: arrays as float32[4,2]."""
    if isinstance(x, Discrete):
        return f"Discrete({x.n})"
    if isinstance(x, Box):
        return f"Box of shape {x.shape}"
    if x is None or isinstance(x, str | bool | int | float):
        return _short(repr(x), 40)
    if is_array(x):
        return f"{x.dtype}[{','.join(map(str, x.shape))}]"
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        fields = zip(x._fields, x, strict=True)
        inside = ", ".join(f"{name}={told(part)}" for name, part in fields)
        return _short(f"{type(x).__name__}({inside})")
    if isinstance(x, tuple | list):
        return _short(f"({', '.join(map(told, x))})")
    if isinstance(x, dict):
        inside = ", ".join(f"{name}: {told(part)}" for name, part in x.items())
        return _short(f"{{{inside}}}")
    return f"a {type(x).__name__}"


def _short(text: str, length: int = 200) -> str:
    return text if len(text) <= length else text[:length] + "..."
