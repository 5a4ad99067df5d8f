"""`make_env`: any environment in one line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from pgjax._internal.checks import as_count, check_flags, check_is
from pgjax._internal.names import unknown_name
from pgjax.envs import named, suites
from pgjax.envs.remake import Remake
from pgjax.envs.wrappers import time_limit as limited
from pgjax.types import Env, HostEnv, Numeric

# What a gymnax environment has, whichever library its class is from.
_GYMNAX = (
    *("reset_env", "step_env", "is_truncated"),
    *("default_params", "observation_space", "action_space"),
)
_RIGHT = (
    'a name such as "CartPole-v1", "module:factory" or "suite:Name", a gymnax '
    "Environment or its class, a pg.Env, or a function that returns one of these"
)


def env_names() -> list[str]:
    """The names that `make_env` knows: gymnax's own and those registered with it."""
    from pgjax.envs import gymnax_envs

    return gymnax_envs.env_names()


def make_env(
    env: Any,
    /,
    *,
    params: Mapping[str, Numeric] = MappingProxyType({}),
    time_limit: int | None = None,
    time_limit_terminates: bool = False,
    **options: Any,
) -> Env:
    """An environment, N at a time: registered, of a suite, or your own.

    Of gymnax's, observations become float32; discrete ones become one-hot vectors.
    Continuous actions are clipped to the action space on their way in, so that a policy
    may store, and take the log-prob of, what it sampled. Rewards become float32.

    `params` are numbers of the environment's physics. They may be traced: made within a
    function that is mapped or jitted, such as those of `pg.sweep` and `jax.vmap`, one
    compiled program serves all their values.

    Args:
      env: what to make:

        - the name of one that gymnax has, such as "CartPole-v1"; see `env_names`;
        - "suite:Name" of another suite, whose package must be installed;
        - "module:name", for what a module of yours has under that name;
        - a gymnax `Environment` (of its 1.0 interface), or the class of one;
        - a `pg.Env`, which is returned as it is but for the time limit;
        - a function that returns any of these.

      params: by name: fields of a gymnax environment's params, or keyword arguments of
        the function, where it takes such.
      time_limit: steps per episode; the environment's own by default.
      time_limit_terminates: whether the time limit counts as a terminal state, after
        which there is no value to bootstrap from. That is the article's rule. By
        default it is a truncation.
      **options: passed to the class or the function, such as num_joints=7.

    Raises:
      ValueError: for an unknown name or parameter, with the nearest ones; for a time
        limit below 1 or beyond int32; for an environment whose params have no
        `max_steps_in_episode`; for params or options of what is made already.
      TypeError: for an option that the environment does not have; for an argument that
        is something else.
      ImportError: for a suite that is not installed, with what installs it.
    """
    made = make_any(
        env,
        params=params,
        time_limit=time_limit,
        time_limit_terminates=time_limit_terminates,
        **options,
    )
    if isinstance(made, HostEnv):
        raise TypeError(
            f"{made.name} lives on the host, and is no JAX program: pg.host_env(...) "
            "makes it, and pg.unroll, pg.episodes and pg.evaluate take that"
        )
    return made


def host_env(
    env: Any,
    /,
    *,
    time_limit: int | None = None,
    **options: Any,
) -> HostEnv:
    """An environment that lives on the host: any that Gymnasium or EnvPool has.

    The same algorithms train on it, with `pg.unroll`, `pg.episodes`, `pg.train` and
    `pg.evaluate`: what learns is compiled, and a loop of Python steps the environments.
    Within `jax.jit`, `jax.vmap` and `pg.sweep` it cannot be stepped.

    Args:
      env: what to make:

        - "gymnasium:Name", such as "gymnasium:HalfCheetah-v5";
        - "envpool:Name", whose environments are stepped by threads of C++;
        - a function, or a class, that returns an environment with Gymnasium's
          interface (1.0), or "module:name" for what a module of yours has;
        - a `pg.HostEnv`, or a function that returns one.

      time_limit: steps per episode; the environment's own by default.
      **options: passed to the suite or the function.

    Raises:
      ValueError: for an unknown name; for an environment without a time limit; for
        spaces that cannot be served.
      TypeError: for what is something else, such as a JAX environment.
      ImportError: for a package that is not installed.
    """
    made = make_any(env, time_limit=time_limit, **options)
    if isinstance(made, Env):
        raise TypeError(
            f"{made.name} is a JAX program, and needs no host: pg.make_env(...) makes "
            "it"
        )
    return made


def make_any(
    env: Any,
    /,
    *,
    params: Mapping[str, Numeric] = MappingProxyType({}),
    time_limit: int | None = None,
    time_limit_terminates: bool = False,
    **options: Any,
) -> Env | HostEnv:
    """What `make_env` or `host_env` makes, with their arguments."""
    check_flags(time_limit_terminates=time_limit_terminates)
    check_is(Mapping, '{"gravity": 5.0}', params=params)
    if time_limit is not None:
        time_limit = as_count("time_limit", time_limit)
    found = _found(env, options, params, time_limit=time_limit)
    if isinstance(found.env, HostEnv):
        return _on_host(found, time_limit, time_limit_terminates)
    if isinstance(found.env, Env):
        if found.params:
            raise ValueError(
                f"{found.name} is made already, and cannot be given params "
                f"{', '.join(found.params)}: give them to the function that makes it"
            )
        made, steps = found.env, time_limit or found.env.max_steps
        if steps != made.max_steps or time_limit_terminates:
            made = limited(made, steps, terminates=time_limit_terminates)
        if env is found.env:
            return made
    else:
        from pgjax.envs import gymnax_envs

        made = gymnax_envs.from_gymnax(
            found.env,
            name=found.name,
            params=found.params,
            time_limit=time_limit,
            time_limit_terminates=time_limit_terminates,
        )

    def remake(values: Mapping[str, Any]) -> Env:
        made = make_any(
            env,
            params={**params, **values},
            time_limit=time_limit,
            time_limit_terminates=time_limit_terminates,
            **options,
        )
        assert isinstance(made, Env)
        return made

    return made._replace(with_params=Remake(remake, made.reset, made.step))


def _on_host(
    found: _Found, time_limit: int | None, time_limit_terminates: bool
) -> HostEnv:
    """An environment on the host, having seen that nothing is asked that it lacks."""
    if time_limit_terminates:
        raise ValueError(
            f"{found.name} lives on the host, where a time limit truncates; "
            "time_limit_terminates is for JAX environments"
        )
    if found.params:
        raise ValueError(
            f"{found.name} cannot be given params {', '.join(found.params)}: give them "
            "to what makes it, as options"
        )
    return found.env._replace(max_steps=time_limit or found.env.max_steps)


class _Found(NamedTuple):
    """An `Env`, a `HostEnv` or a gymnax environment, and the params left for it."""

    env: Any
    name: str
    params: Mapping[str, Any]


def _found(
    env: Any,
    options: Mapping[str, Any],
    params: Mapping[str, Any],
    name: str = "",
    *,
    time_limit: int | None,
) -> _Found:
    """What `make_env` is to make, having called whatever is to be called for it.

    A suite is told the time limit, which may be a part of its environments' rules.
    """
    if isinstance(env, str):
        return _of_name(env, options, params, time_limit)
    if isinstance(env, Env | HostEnv):
        _check_no_options(name or env.name, options)
        return _Found(env, name or env.name, params)
    if not isinstance(env, type) and _is_gymnax(env):
        name = name or str(env.name)
        _check_no_options(name, options)
        _check_gymnax(env, name)
        return _Found(env, name, params)
    if not isinstance(env, type) and _is_gymnasium(env):
        raise TypeError(
            f"{type(env).__name__} is one environment of Gymnasium, and many are "
            "needed: give pg.host_env its class, or a function that makes one"
        )
    if not callable(env):
        raise TypeError(f"make_env takes {_RIGHT}; got {_told(env)}")
    of = name or getattr(env, "__name__", type(env).__name__)
    own, left = _taken(env, params)
    made = env(**options, **own)
    if _is_gymnasium(made):
        made.close()
        _check_all_taken(of, env, left)
        return _of_gymnasium(partial(env, **options, **own), of, time_limit)
    if not (isinstance(made, str | Env | HostEnv) or _is_gymnax(made)):
        raise TypeError(f"{of} must return {_RIGHT}; it returned {_told(made)}")
    if isinstance(made, Env | HostEnv):
        _check_all_taken(of, env, left)
    name = name if _is_gymnax(made) else ""
    return _found(made, {}, left, name, time_limit=time_limit)


def _of_name(
    name: str,
    options: Mapping[str, Any],
    params: Mapping[str, Any],
    time_limit: int | None,
) -> _Found:
    if named.is_of_suite(name):
        suite, _, of_suite = name.partition(":")
        make = suites.adapter(suite).make
        own, left = _taken(make, params)
        _check_all_taken(suite, make, left)
        made = make(of_suite, time_limit=time_limit, **options, **own)
        return _Found(made, name, {})
    prefix, colon, of_gymnax = name.partition(":")
    if colon and prefix != "gymnax":
        of = named.of_module(name)
        return _found(of, options, params, name, time_limit=time_limit)
    from pgjax.envs import gymnax_envs

    plain = of_gymnax if colon else name
    return _Found(gymnax_envs.registered(plain, options), plain, params)


def _taken(
    make: Callable, params: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The params that a function takes as keyword arguments, and the others."""
    try:
        taken = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):  # something built in
        return {}, dict(params)
    names = {
        x.name for x in taken if x.kind in (x.KEYWORD_ONLY, x.POSITIONAL_OR_KEYWORD)
    }
    takes_all = any(x.kind is x.VAR_KEYWORD for x in taken)
    own = {k: x for k, x in params.items() if takes_all or k in names}
    return own, {k: x for k, x in params.items() if k not in own}


def _check_all_taken(name: str, make: Callable, left: Mapping[str, Any]) -> None:
    """Raises ValueError for params that a function of that name does not take."""
    if left:
        known = inspect.signature(make).parameters
        raise ValueError(unknown_name(f"{name} has no parameter", min(left), known))


def _is_gymnax(env: Any) -> bool:
    """Whether it is a gymnax environment, or a wrapper of one."""
    return hasattr(env, "reset_env") and hasattr(env, "step_env")


def _is_gymnasium(env: Any) -> bool:
    """Whether it is an environment with Gymnasium's interface."""
    parts = "reset", "step", "close", "action_space", "observation_space"
    return all(hasattr(env, part) for part in parts) and not _is_gymnax(env)


def _of_gymnasium(make_one: Callable, name: str, time_limit: int | None) -> _Found:
    from pgjax.envs import gymnasium_envs

    made = gymnasium_envs.from_function(make_one, name, time_limit=time_limit)
    return _Found(made, name, {})


def _check_gymnax(env: Any, name: str) -> None:
    """Raises TypeError for a wrapper of gymnax, or a class of its versions before 1."""
    if not hasattr(type(env), "step_env"):
        raise TypeError(
            f"{type(env).__name__} is a wrapper of gymnax, around which pgjax would "
            "step the environment inside: give that one, and wrap what make_env "
            "returns, as pg.frame_stack does"
        )
    missing = [x for x in _GYMNAX if not hasattr(type(env), x)]
    if missing:
        raise TypeError(
            f"{name} is no environment of gymnax 1.0: {type(env).__name__} has no "
            f"{', '.join(missing)}"
        )


def _check_no_options(name: str, options: Mapping[str, Any]) -> None:
    if options:
        raise ValueError(
            f"{name} is made already, and cannot be given {', '.join(options)}: give "
            "make_env the class, or the function, that makes it"
        )


def _told(x: Any) -> str:
    if x is None or isinstance(x, int | float | str):
        return repr(x)
    return type(x).__name__
