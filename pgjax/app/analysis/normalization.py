"""Scores of several environments on one scale: 0 is random, 1 the reference.

    normalised = (return - random) / (reference - random)

as in Agarwal et al., 2021, and Mnih et al., 2015, whose reference was a human.
"""

from __future__ import annotations

import math
import pathlib
import tomllib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from pgjax.app.errors import DamagedFileError, UsageError
from pgjax.app.runs.files import opened

OWN = pathlib.Path(__file__).with_name("reference_scores.toml")


class Scale(NamedTuple):
    """Two returns of an environment: of random actions, and one to be reached."""

    random: float
    reference: float

    def normalize(self, returns: np.ndarray) -> np.ndarray:
        """Returns on the scale where `random` is 0 and `reference` is 1."""
        return (np.asarray(returns, float) - self.random) / (
            self.reference - self.random
        )


def scales(envs: Iterable[str], path: str | None) -> dict[str, Scale]:
    """The scale of each environment.

    Args:
      envs: their names.
      path: a TOML file with a table `["NAME"]` for each, of `random` and `reference`;
        it comes before pgjax's own, `reference_scores.toml`.

    Raises:
      UsageError: for an environment without one, or a file that is none.
    """
    known = read(OWN)
    if path is not None:
        known |= read(pathlib.Path(path))
    found = {env: known[env] for env in envs if env in known}
    if missing := [env for env in envs if env not in found]:
        raise UsageError(
            f"no random and reference score of {' and '.join(missing)} is known, which "
            "a comparison across environments needs: --normalize FILE.toml with "
            f'["{missing[0]}"], random = ... and reference = ... gives them'
        )
    return found


def read(path: pathlib.Path) -> dict[str, Scale]:
    """The scales in a file.

    Raises:
      UsageError: naming the file, for what is none.
    """
    with opened(path) as file:
        try:
            content = tomllib.load(file)
        except (ValueError, RecursionError) as error:  # UnicodeDecodeError among them
            raise DamagedFileError(path, f"it is not TOML: {error}") from error
    return {env: _scale(path, env, of) for env, of in content.items()}


def _scale(path: pathlib.Path, env: str, of: object) -> Scale:
    names = Scale._fields
    given = of if isinstance(of, dict) else {}
    numbers = [given.get(name) for name in names]
    if set(given) - {*names, "source"} or not all(map(_is_number, numbers)):
        raise UsageError(
            f'{path}: ["{env}"] needs random and reference, two numbers'
            ", and may have a source"
        )
    scale = Scale(*map(float, numbers))  # type: ignore[arg-type]
    if scale.random == scale.reference:
        raise UsageError(f'{path}: random and reference of ["{env}"] are the same')
    return scale


def _is_number(x: object) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)
