"""What a user's parts must be: environments, networks, policies and algorithms.

Each check traces a part once, without computing anything, and says which part it was,
what it gave and what is right. JAX's own errors come later, and name neither.
"""

from __future__ import annotations

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pgjax._internal.checks import as_count, check_is
from pgjax._internal.spaces import batch_size, beside_spaces, is_space, named_spaces
from pgjax._internal.user_parts import (
    OnlyOnAMeshError,
    PartError,
    check_array,
    check_distribution,
    check_leaves,
    check_parts,
    check_same,
    is_array,
    is_distribution,
    named,
    shapes,
    structure_difference,
    telling,
    told,
)
from pgjax.distributions import Categorical
from pgjax.types import (
    AlgorithmState,
    Array,
    Box,
    Discrete,
    Env,
    HostEnv,
    Key,
    Metrics,
    Network,
    Obs,
    Params,
    PolicyFn,
    Space,
)

METHODS = "sample", "log_prob", "entropy", "kl", "mode"  # of a distribution
STEP = "(obs, state, reward, terminated, truncated)"


def check_env(env: Env, num_envs: int) -> None:
    """Raises unless so many of an environment keep to what `Env` says.

    Raises:
      TypeError: if it does not, or fails by itself; its own error is the cause.
    """
    check_is(Env, 'pg.make_env("CartPole-v1")', env=env)
    for name in ("reset", "step"):
        if not callable(getattr(env, name)):
            raise PartError(f"env.{name} must be a function, got {getattr(env, name)}")
    as_count("env.max_steps", env.max_steps)
    _check_spaces("env.observation_space", env.observation_space)
    _check_space("env.action_space", env.action_space)
    with contextlib.suppress(OnlyOnAMeshError):
        _check_reset_and_step(env, num_envs)


def _check_reset_and_step(env: Env, num_envs: int) -> None:
    key = jax.eval_shape(lambda: jax.random.key(0))
    start = shapes(
        "env.reset", lambda key: env.reset(key, num_envs), key, says=f"key, {num_envs}"
    )
    check_parts("env.reset", start, "(obs, state)", 2)
    obs, state = start
    _check_obs(env.observation_space, obs, num_envs)
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if not leaf.shape or leaf.shape[0] != num_envs:
            raise PartError(
                f"env.reset must return states of {num_envs} environments, whose "
                f"leaves all have {num_envs} as their first axis; "
                f"{named('state', path)} is {told(leaf)}"
            )
    result = shapes(
        "env.step", env.step, key, state, _actions(env.action_space, num_envs)
    )
    check_parts("env.step", result, STEP, 5)
    after_obs, after, reward, *flags = result
    check_same("env.step", "the obs of env.reset", "obs", obs, after_obs)
    check_same("env.step", "the state that it was given", "state", state, after)
    check_array(
        "env.step", "reward", reward, (num_envs,), f"a number for each of {num_envs}"
    )
    if not jnp.issubdtype(reward.dtype, jnp.floating):
        raise PartError(
            f"env.step must return a reward of floats, got {told(reward)}; write "
            "reward.astype(jnp.float32)"
        )
    for name, flag in zip(("terminated", "truncated"), flags, strict=True):
        check_array(
            "env.step", name, flag, (num_envs,), f"a flag for each of {num_envs}"
        )
        if flag.dtype != jnp.bool_:
            raise PartError(
                f"env.step must return a boolean {name}, got {told(flag)}; write "
                f"{name}.astype(bool)"
            )


def _check_obs(observation_space: Any, obs: Obs, num_envs: int) -> None:
    """Raises unless observations are arrays, or a tree, such as the space says."""
    part = "env.reset"
    for name, of, space, leaf in _leaves_of_obs(part, observation_space, obs):
        what = f"of {of}, {num_envs} environments"
        check_array(part, name, leaf, (num_envs, *space.shape), what)
        _check_numbers(part, name, of, space, leaf)


def _check_obs_of_one(env: HostEnv) -> None:
    """Raises unless `env.obs` is of the shapes that the space says."""
    part = "pg.HostEnv"
    for name, of, space, leaf in _leaves_of_obs(part, env.observation_space, env.obs):
        if not is_array(leaf) or tuple(leaf.shape) != space.shape:
            raise PartError(
                f"{part}: {name} must be of shape {space.shape}, as {of} is, got "
                f"{told(leaf)}; write jax.ShapeDtypeStruct({space.shape}, np.float32)"
            )
        _check_numbers(part, name, of, space, leaf)


def _leaves_of_obs(
    part: str, space: Any, obs: Obs
) -> list[tuple[str, str, Space, Any]]:
    """Each leaf: its name, that of its space, the space, and itself.

    Raises:
      TypeError: for observations of another structure.
    """
    if is_space(space) and not is_array(obs):
        raise PartError(
            f"{part}: obs must be one array, got {told(obs)}, or "
            "env.observation_space a tree like it, such as {'a': pg.Box(...)}"
        )
    try:
        leaves = beside_spaces(space, obs)
    except ValueError:
        where = structure_difference("obs", space, obs, is_space)
        raise PartError(
            f"{part}: obs must be a tree like env.observation_space, {told(space)}, "
            f"got {told(obs)}{where}"
        ) from None
    names = (name for name, _ in named_spaces("obs", space))
    spaces = named_spaces("env.observation_space", space)
    return [
        (name, of, leaf_space, leaf)
        for name, (of, leaf_space), leaf in zip(names, spaces, leaves, strict=True)
    ]


def _check_numbers(part: str, name: str, of: str, space: Space, leaf: Any) -> None:
    """Raises unless they are numbers, and those of a `Discrete` are whole."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        raise PartError(
            f"{part}: {name} must be numbers, got random keys; keep them in the state"
        )
    if isinstance(space, Discrete) and jnp.issubdtype(leaf.dtype, jnp.floating):
        raise PartError(
            f"{part}: {name} must be integers, as {of} is {told(space)}, got "
            f"{told(leaf)}; write {name}.astype(jnp.int32), or give it a pg.Box"
        )


def init_network(network: Network, key: Key, obs: Obs) -> Params:
    """The network's first parameters, having seen that it keeps to what `Network` says.

    Args:
      network: to be checked.
      key: for `network.init`.
      obs: (N, ...) example observations.

    Raises:
      TypeError: if it does not, or fails by itself; its own error is the cause.
    """
    with telling("network.init", told((key, obs))[1:-1]):
        params = network.init(key, obs)
    check_leaves("network.init", "params", params)
    found: list[Any] = []

    def apply(params: Params, obs: Obs) -> Any:
        found.append(network.apply(params, obs))
        if isinstance(found[0], tuple) and len(found[0]) == 2:
            return found[0][1]
        return None

    shapes("network.apply", apply, params, obs)
    result = found[0]
    if not (isinstance(result, tuple) and len(result) == 2) or is_distribution(result):
        raise PartError(
            "network.apply must return (distribution, value), the value None without a "
            f"critic, got {told(result)}; write for example "
            "return pg.Categorical(logits), None"
        )
    distribution, value = result
    check_distribution("network.apply", distribution, METHODS)
    if value is not None:
        shape = (batch_size(obs),)
        check_array("network.apply", "value", value, shape, "V(s) of each observation")
    return params


def check_host_env(env: HostEnv) -> None:
    """Raises unless an environment on the host says what `HostEnv` does.

    Raises:
      TypeError: if it does not. What its simulators do is checked as they do it.
    """
    check_is(HostEnv, 'pg.host_env("gymnasium:CartPole-v1")', env=env)
    as_count("env.max_steps", env.max_steps)
    _check_spaces("env.observation_space", env.observation_space)
    _check_obs_of_one(env)
    _check_space("env.action_space", env.action_space)


def check_policy(
    env: Env | HostEnv, policy: PolicyFn, params: Params, obs: Obs
) -> None:
    """Raises unless a policy's actions are those of an environment.

    Raises:
      TypeError: if they are not, or the policy fails by itself.
    """
    found: list[Any] = []

    def act(params: Params, obs: Obs) -> tuple[Array, Array]:
        found.append(policy(params, obs))
        check_distribution("the policy", found[0], ("sample", "log_prob"))
        action = found[0].sample(jax.random.key(0))
        return action, found[0].log_prob(action)

    action, log_prob = shapes("the policy", act, params, obs)
    space, size = env.action_space, batch_size(obs)
    wanted = (size, *space.shape)
    what = f"of env.action_space, {told(space)}, for {size} observations"
    check_array("the policy", "actions", action, wanted, what)
    check_array("the policy", "log_prob", log_prob, (size,), "one for each action")
    if not isinstance(space, Discrete):
        return
    if not jnp.issubdtype(action.dtype, jnp.integer):
        raise PartError(
            f"the policy must give integer actions, {what}, got {told(action)}"
        )
    distribution = found[0]
    if isinstance(distribution, Categorical):
        number = distribution.logits.shape[-1]
        if number != space.n:
            raise PartError(
                f"the policy chooses among {number} actions, and the environment "
                f"{env.name} has {space.n}; its network may be made for another one"
            )


def check_learner(learner: Any) -> AlgorithmState:
    """What `algorithm.init` returned, if it is a pytree of arrays with `params`.

    Raises:
      TypeError: if it is something else.
    """
    if not hasattr(learner, "params"):
        raise PartError(
            "algorithm.init must return a state that has params, such as "
            f"pg.Learner(params, opt_state), got {told(learner)}"
        )
    check_leaves("algorithm.init", "learner", learner)
    return learner


def check_update(before: AlgorithmState, result: Any) -> tuple[AlgorithmState, Metrics]:
    """What `algorithm.update` returned, if it can be the input of the next update.

    Raises:
      TypeError: if it is something else, or the learner's structure, shapes or types
        change.
    """
    right = "algorithm.update must return (learner, metrics)"
    if not (isinstance(result, tuple) and len(result) == 2):
        raise PartError(f"{right}, got {told(result)}")
    learner, metrics = result
    if hasattr(result, "params"):  # a pg.Learner is a tuple of two, too
        raise PartError(f"{right}, got the learner alone: {told(result)}")
    if not hasattr(learner, "params"):
        raise PartError(
            f"{right}, the first with params, as that of init, got {told(learner)}"
        )
    if not isinstance(metrics, dict):
        raise PartError(f"{right}, the second a dict of scalars, got {told(metrics)}")
    for name, metric in metrics.items():
        if not is_array(metric) or np.shape(metric):
            raise PartError(
                f"{right}, the second a dict of scalars; {name} is {told(metric)}"
            )
    check_leaves("algorithm.update", "learner", learner)
    check_same(
        "algorithm.update", "the learner that it was given", "learner", before, learner
    )
    return learner, metrics


def _check_spaces(name: str, tree: Any) -> None:
    """Raises unless it is a space, or a tree of them."""
    spaces = named_spaces(name, tree)
    if not spaces:
        raise PartError(f"{name} must have a space in it, got {told(tree)}")
    for of, space in spaces:
        _check_space(of, space)


def _check_space(name: str, space: Space) -> None:
    if isinstance(space, Discrete):
        as_count(f"{name}.n", space.n)
    elif isinstance(space, Box):
        if not isinstance(space.shape, tuple):
            raise PartError(f"{name}.shape must be a tuple, got {space.shape!r}")
        for size in space.shape:
            as_count(f"{name}.shape", size)
        for bound in ("low", "high"):
            shape = np.shape(getattr(space, bound))
            if not _broadcasts(shape, space.shape):
                raise PartError(
                    f"{name}.{bound} has shape {shape}, which does not broadcast to "
                    f"the space's {space.shape}"
                )
    else:
        raise PartError(
            f"{name} must be a pg.Discrete or a pg.Box, such as "
            f"pg.Box(-1.0, 1.0, (4,)), got {told(space)}"
        )


def _broadcasts(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, whole) == whole
    except ValueError:
        return False


def _actions(space: Space, num_envs: int) -> jax.ShapeDtypeStruct:
    """Actions of so many environments."""
    dtype = jnp.int32 if isinstance(space, Discrete) else jnp.float32
    return jax.ShapeDtypeStruct((num_envs, *space.shape), dtype)
