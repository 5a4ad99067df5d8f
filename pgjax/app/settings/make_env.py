"""The environment that a config names: any that `pg.make_env` takes as a string."""

from __future__ import annotations

import hashlib
import os
import pathlib
import sys
import traceback
import types
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import pgjax as pg
from pgjax.app.errors import UsageError
from pgjax.envs.make import make_any
from pgjax.envs.named import is_of_module, is_of_suite, module_file

_RESERVED = {"params", "time_limit", "time_limit_terminates"}  # what has a flag


class Named(NamedTuple):
    """What a config says of its environment."""

    env: str
    env_arg: Mapping[str, Any] = types.MappingProxyType({})
    env_param: Mapping[str, Any] = types.MappingProxyType({})
    time_limit: int | None = None
    time_limit_terminates: bool = False


def make_env(
    named: Any, params: Mapping[str, Any] = types.MappingProxyType({})
) -> pg.Env | pg.HostEnv:
    """The environment, having seen that it can be reset and stepped.

    Args:
      named: `Named`, or a config.
      params: other values of its parameters, which may be traced.

    Raises:
      UsageError: in a line, for one that cannot be made.
    """
    if reserved := _RESERVED & set(named.env_arg):
        raise UsageError(f"--env-arg cannot set {min(reserved)}, which has a flag")
    find_modules_here()
    params = {**named.env_param, **params}
    try:
        env = make_any(
            named.env,
            params=params,
            time_limit=named.time_limit,
            time_limit_terminates=named.time_limit_terminates,
            **named.env_arg,
        )
        if named.env_arg and isinstance(env, pg.Env):
            key = jax.eval_shape(lambda: jax.random.key(0))
            _, state = jax.eval_shape(lambda key: env.reset(key, 1), key)
            action = jnp.zeros((1, *env.action_space.shape), jnp.int32)
            jax.eval_shape(env.step, key, state, action)
    except (UsageError, ImportError) as error:  # a suite that is not installed
        raise UsageError(str(error)) from error
    except OSError as error:  # MNISTBandit-bsuite downloads its images
        raise UsageError(f"cannot make {named.env}: {error}") from error
    except Exception as error:  # anything that a user's code raises
        raise UsageError(_told(named, error)) from error
    # By its own name it could pass for one that others know.
    return env._replace(name=named.env) if is_of_module(named.env) else env


def find_modules_here() -> None:
    """Lets modules of the current directory be imported, as `python` does."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)


def source_digest(env: str) -> str | None:
    """The SHA-256 of the file of an environment of yours; None for one of a package."""
    find_modules_here()
    path = module_file(env) if is_of_module(env) else None
    return None if path is None else hashlib.sha256(_read(path)).hexdigest()


def _read(path: str) -> bytes:
    try:
        return pathlib.Path(path).read_bytes()
    except OSError:
        return b""


def _told(named: Any, error: Exception) -> str:
    """What is wrong, and in which line of a user's module."""
    options = " ".join(f"{k}={v!r}" for k, v in named.env_arg.items())
    if not options and not is_of_module(named.env) and not is_of_suite(named.env):
        return str(error)
    told = f"cannot make {named.env}"
    told += f" with {options}" if options else ""
    reason = _without_name(named.env, " ".join(str(error).split()))
    if reason.startswith("unknown environment"):
        return reason
    path = module_file(named.env) if is_of_module(named.env) else None
    frames = traceback.extract_tb((error.__cause__ or error).__traceback__)
    lines = [x.lineno for x in frames if path and x.filename == str(path)]
    if lines:
        name = type(error.__cause__ or error).__name__
        reason += f" ({name} in {pathlib.Path(str(path)).name}, line {lines[-1]})"
    return f"{told}: {reason}"


def _without_name(env: str, reason: str) -> str:
    """A reason that begins with the environment's name, without it."""
    for start, instead in ((f"{env}: ", ""), (f"{env} ", "it ")):
        if reason.startswith(start):
            return instead + reason.removeprefix(start)
    return reason
