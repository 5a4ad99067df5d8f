"""Settings under a name, by algorithm: those of presets.toml, beside this file."""

from __future__ import annotations

import copy
import pathlib
import tomllib
from typing import Any

from pgjax.app.errors import UsageError

DEFAULT_ENV = "CartPole-v1"
# By algorithm, and by name; "general" is the first of each.
PRESETS: dict[str, dict[str, dict[str, Any]]] = tomllib.loads(
    pathlib.Path(__file__).with_name("presets.toml").read_text(encoding="utf-8")
)


def presets() -> dict[str, dict[str, dict[str, Any]]]:
    """The settings that have a name, by algorithm and name, as presets.toml has them.

    "general" is what every other one of its algorithm starts from. The rest are
    defaults; `preset` has both together.

    >>> print(*presets()["trpo"])
    general CartPole-v1
    """
    return copy.deepcopy(PRESETS)


def preset(algorithm: str = "reinforce", name: str = "default") -> dict[str, Any]:
    """Every setting that `pg.app.train(algorithm, preset=name)` trains with.

    Args:
      algorithm: the name of one in `pgjax.algorithms`.
      name: of a preset; "default" for that of CartPole-v1, or else "general".

    Returns:
      Settings by name, as JSON has them: the run's and the algorithm's own.

    Raises:
      UsageError: for a name that is not known.

    >>> print(preset("reinforce", "article")["hidden"])
    [128]
    """
    from pgjax.app.settings.config import make_config, to_settings

    return to_settings(make_config(algorithm, name, {}))


def choose_preset(
    algorithm: str, preset: str, env: str | None
) -> tuple[str, dict[str, Any]]:
    """The preset's name and settings.

    Args:
      algorithm: its name.
      preset: a preset's name; "default" for the environment's own, or else "general".
      env: the environment that was asked for, if one was.

    Raises:
      UsageError: for a name that is not known.
    """
    presets = PRESETS.get(algorithm, {})
    general = presets.get("general", {})
    if preset == "default":
        preset = env or DEFAULT_ENV
        preset = preset if preset in presets else "general"
    if preset == "general":
        return preset, general
    if preset not in presets:
        raise UsageError(
            f"unknown preset {preset!r} of {algorithm}; choose from "
            f"{', '.join(presets)}"
        )
    return preset, {"env": preset, **general, **presets[preset]}
