"""Other suites' environments: each is served by a file here, SUITE_envs.py.

Such a file imports its suite, when an environment of it is asked for, and has a
function `make(name, *, time_limit=None, **options)` that returns a `pg.Env`, or a
`pg.HostEnv` where the suite is no JAX program.
"""

from __future__ import annotations

import importlib
import pathlib
from types import ModuleType

from pgjax._internal.installing import install

_ENDING = "_envs"  # of the names of such files


def suite_names() -> list[str]:
    """The suites, beside gymnax, that there are files for, installed or not."""
    files = (x for folder in _folders() for x in folder.glob(f"*{_ENDING}.py"))
    return sorted({x.stem.removesuffix(_ENDING) for x in files} - {"gymnax"})


def _folders() -> list[pathlib.Path]:
    return [pathlib.Path(__file__).parent]


def adapter(suite: str) -> ModuleType:
    """The file that serves a suite.

    Raises:
      ImportError: in a line, with what would install it, where it cannot be imported.
    """
    try:
        return importlib.import_module(f"pgjax.envs.{suite}{_ENDING}")
    except Exception as error:  # AttributeError as often as ImportError
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ImportError(
            f"{suite} cannot be imported ({reason}); {install(suite)} installs it",
            name=getattr(error, "name", None) or suite,
        ) from error
