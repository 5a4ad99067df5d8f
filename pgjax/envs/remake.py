"""What an environment was made with: so that it can be made with other parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pgjax.types import Env


class Remake(NamedTuple):
    """What makes an environment with other parameters: the field `Env.with_params`."""

    make: Callable[[Mapping[str, Any]], Env]
    reset: Callable  # of the environment that it makes again
    step: Callable

    def __call__(self, params: Mapping[str, Any]) -> Env:
        return self.make(params)


def remake_of(env: Env) -> Remake | None:
    """What makes an environment with other parameters, if anything does.

    One whose functions were replaced cannot be: the new ones would be lost.
    """
    remake = env.with_params
    if not isinstance(remake, Remake):
        return None
    same = remake.reset is env.reset and remake.step is env.step
    return remake if same else None
