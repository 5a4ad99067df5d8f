"""Policies and critics as `Network` values; the only file that imports flax.

An algorithm needs two functions, `init(key, obs)` and `apply(params, obs)`, so any
library, or none, can supply a network. These are the ones the article uses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from pgjax.distributions import Categorical
from pgjax.types import Array, Discrete, Env, Key, Network, Params

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": nn.relu,
    "tanh": jnp.tanh,
    "gelu": nn.gelu,
    "silu": nn.silu,
}
INITIALIZERS = ("torch", "orthogonal")


class MLP(nn.Module):
    """Dense layers of the given widths, the last one linear.

    `initializer` is "torch", PyTorch's default for linear layers (uniform in
    +-1/sqrt(fan_in), biases too), or "orthogonal" (gain sqrt(2), zero biases, the last
    layer's gain `output_scale`), the usual choice for PPO and A2C.
    """

    widths: Sequence[int]
    activation: str = "tanh"
    initializer: str = "orthogonal"
    output_scale: float = 1.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        *hidden, outputs = self.widths
        for width in hidden:
            x = ACTIVATIONS[self.activation](self._dense(x, width, math.sqrt(2.0)))
        return self._dense(x, outputs, self.output_scale)

    def _dense(self, x: Array, width: int, gain: float) -> Array:
        if self.initializer == "orthogonal":
            return nn.Dense(width, kernel_init=nn.initializers.orthogonal(gain))(x)
        bound = 1.0 / math.sqrt(x.shape[-1])

        def uniform(key: Key, shape: Any, dtype: Any = jnp.float32) -> Array:
            return jax.random.uniform(key, shape, dtype, -bound, bound)

        return nn.Dense(width, kernel_init=uniform, bias_init=uniform)(x)


def linear_softmax_policy(
    env: Env, features: Callable[[Array], Array] | None = None
) -> Network:
    """Softmax over preferences linear in features: h(s, a) = theta . phi(s, a).

    Args:
      env: whose observation and action spaces the policy serves; discrete actions.
      features: maps observations (..., *obs) to phi(s, a), (..., K, d). Without it, the
        preferences are affine in the flattened observation, one weight vector and bias
        per action.

    Returns:
      A network without a critic. Its parameters start at zero: the uniform policy.

    Raises:
      ValueError: if the action space is not discrete, or (from `init`) if the features
        are not one row per action.

    References:
      Sutton and Barto, 2018, eq. 13.2 and 13.3.
    """
    num_actions = _num_actions(env)

    def affine(obs: Array) -> Array:
        flat = _flatten(env, obs)
        state = jnp.concatenate([flat, jnp.ones_like(flat[..., :1])], axis=-1)
        # phi(s, a): the state's features in action a's block, zeros in the others.
        blocks = jnp.einsum("ab,...d->...abd", jnp.eye(num_actions), state)
        return blocks.reshape(*state.shape[:-1], num_actions, -1)

    phi = features or affine

    def init(key: Key, obs: Array) -> Params:
        del key
        shape = jax.eval_shape(phi, obs).shape
        if len(shape) < 2 or shape[-2] != num_actions:
            raise ValueError(
                f"features must be (..., {num_actions} actions, d), got {shape}"
            )
        return {"theta": jnp.zeros(shape[-1])}

    def apply(params: Params, obs: Array) -> tuple[Categorical, None]:
        return Categorical(phi(obs) @ params["theta"]), None

    return Network(init, apply)


def mlp_policy(
    env: Env,
    hidden: Sequence[int] = (128,),
    *,
    activation: str = "relu",
    initializer: str = "torch",
) -> Network:
    """A policy network without a critic; by default the article's, 4 -> 128 ReLU -> 2.

    Args:
      env: whose observation and action spaces the policy serves.
      hidden: widths of the hidden layers.
      activation: "relu", "tanh", "gelu" or "silu".
      initializer: "torch" or "orthogonal"; see `MLP`.

    Raises:
      ValueError: if the action space is not discrete, or a name is unknown.
    """
    _check_names(activation, initializer)
    actor = MLP((*hidden, _num_actions(env)), activation, initializer, 0.01)

    def init(key: Key, obs: Array) -> Params:
        return {"actor": actor.init(key, _flatten(env, obs))}

    def apply(params: Params, obs: Array) -> tuple[Categorical, None]:
        logits = actor.apply(params["actor"], _flatten(env, obs))
        return Categorical(logits), None

    return Network(init, apply)


def actor_critic(
    env: Env,
    hidden: Sequence[int] = (64, 64),
    *,
    activation: str = "tanh",
    initializer: str = "orthogonal",
) -> Network:
    """Two networks of the same shape: an actor pi(a | s) and a critic V(s).

    Args:
      env: whose observation and action spaces the policy serves.
      hidden: widths of the hidden layers, of either network.
      activation: "relu", "tanh", "gelu" or "silu".
      initializer: "torch" or "orthogonal"; see `MLP`.

    Raises:
      ValueError: if the action space is not discrete, or a name is unknown.

    References:
      Huang et al., The 37 Implementation Details of PPO, 2022, details 2 and 13.
    """
    _check_names(activation, initializer)
    actor = MLP((*hidden, _num_actions(env)), activation, initializer, 0.01)
    critic = MLP((*hidden, 1), activation, initializer, 1.0)

    def init(key: Key, obs: Array) -> Params:
        actor_key, critic_key = jax.random.split(key)
        flat = _flatten(env, obs)
        return {
            "actor": actor.init(actor_key, flat),
            "critic": critic.init(critic_key, flat),
        }

    def apply(params: Params, obs: Array) -> tuple[Categorical, Array]:
        flat = _flatten(env, obs)
        logits = actor.apply(params["actor"], flat)
        value = critic.apply(params["critic"], flat)
        return Categorical(logits), jnp.squeeze(value, axis=-1)

    return Network(init, apply)


def _num_actions(env: Env) -> int:
    if not isinstance(env.action_space, Discrete):
        raise ValueError(
            f"{env.name} has continuous actions of shape {env.action_space.shape}, but "
            "this policy chooses among discrete ones; try CartPole-v1 or Acrobot-v1"
        )
    return env.action_space.n


def _flatten(env: Env, obs: Array) -> Array:
    """(..., *obs) to (..., d)."""
    batch = obs.ndim - len(env.observation_space.shape)
    return obs.reshape(*obs.shape[:batch], -1)


def _check_names(activation: str, initializer: str) -> None:
    for what, name, known in (
        ("activation", activation, ACTIVATIONS),
        ("initializer", initializer, INITIALIZERS),
    ):
        if name not in known:
            raise ValueError(f"unknown {what} {name!r}; known are {', '.join(known)}")
