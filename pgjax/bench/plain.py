"""The plain twin: the same algorithms, written as the field writes them.

After PureJaxRL, with V of the observation before a reset, as in Stoix: gymnax steps and
resets each environment by itself, each with its own key; a scan makes the batch; one
gradient is of all of it. By intention nothing comes from pgjax, and nothing is slow on
purpose: by how much pgjax is faster, its design is worth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import gymnax
import jax
import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState

Array = jax.Array
GAMMA = 0.99
ENTROPY_COEFFICIENT, VALUE_COEFFICIENT = 0.01, 0.5
CLIP, NUM_EPOCHS, NUM_MINIBATCHES = 0.2, 4, 4  # of PPO


class Policy(nn.Module):
    """One hidden layer of 128, ReLU; parameters are as PyTorch has them at first."""

    num_actions: int

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, None]:
        return self._dense(nn.relu(self._dense(x, 128)), self.num_actions), None

    def _dense(self, x: Array, width: int) -> Array:
        bound = 1 / math.sqrt(x.shape[-1])
        uniform = partial(jax.random.uniform, minval=-bound, maxval=bound)
        return nn.Dense(width, kernel_init=uniform, bias_init=uniform)(x)


class ActorCritic(nn.Module):
    """Two networks, 64-64, tanh."""

    num_actions: int

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        orthogonal = nn.initializers.orthogonal
        hidden = partial(nn.Dense, 64, kernel_init=orthogonal(math.sqrt(2)))
        actor = nn.tanh(hidden()(x))
        actor = nn.tanh(hidden()(actor))
        logits = nn.Dense(self.num_actions, kernel_init=orthogonal(0.01))(actor)
        critic = nn.tanh(hidden()(x))
        critic = nn.tanh(hidden()(critic))
        return logits, nn.Dense(1, kernel_init=orthogonal(1.0))(critic)[..., 0]


class State(NamedTuple):
    """A run between two updates."""

    learner: TrainState
    env_state: Any  # leaves (N, ...)
    obs: Array  # (N, ...)
    episode_return: Array  # (N,)
    key: Array


class Batch(NamedTuple):
    """A rollout; leaves (T, N, ...)."""

    obs: Array
    action: Array
    log_prob: Array
    value: Any  # None without a critic
    reward: Array
    terminated: Array
    done: Array  # terminated or truncated
    next_obs: Array  # before any reset
    episode_return: Array  # this step included
    mask: Array  # 0 after the end of an environment's only episode


class Plain(NamedTuple):
    """An algorithm: `step` is `collect`, then `update`."""

    init: Callable[[Array], State]
    collect: Callable[[State], tuple[State, Batch]]
    update: Callable[[Array, TrainState, Batch], TrainState]
    step: Callable[[State], tuple[State, dict[str, Array]]]


def reinforce(
    env_name: str,
    optimizer: optax.GradientTransformation,
    num_envs: int,
    num_steps: int,
    complete_episodes: bool = False,
) -> Plain:
    """REINFORCE; the baseline is the mean return, at that step, of the others.

    Args:
      env_name: an environment of gymnax with discrete actions.
      optimizer: any Optax transformation that descends.
      num_envs: N.
      num_steps: T; for complete episodes, the time limit.
      complete_episodes: whether a rollout is one episode of each environment, padded;
        otherwise episodes go on in the next one, and returns are cut between the two.
    """

    def update(key: Array, learner: TrainState, batch: Batch) -> TrainState:
        returns = _discounted_sum(batch.reward, GAMMA * (1.0 - batch.done))
        masked = batch.mask * returns
        total = masked.sum(1, keepdims=True) - masked
        others = batch.mask.sum(1, keepdims=True) - batch.mask
        advantage = returns - jnp.where(others > 0, total / jnp.maximum(others, 1), 0)
        share = batch.mask * advantage / num_envs  # of the mean over episodes
        return _descend(_reinforce_loss, learner, *_flatten((batch, share)))

    sizes = num_envs, num_steps, complete_episodes
    return _plain(env_name, Policy, optimizer, update, *sizes)


def a2c(
    env_name: str,
    optimizer: optax.GradientTransformation,
    num_envs: int,
    num_steps: int,
    lam: float = 1.0,
) -> Plain:
    """A2C: one gradient step per rollout; arguments as above, and GAE's lambda."""

    def update(key: Array, learner: TrainState, batch: Batch) -> TrainState:
        samples = _flatten((batch, _gae(learner, batch, lam)))
        return _descend(_a2c_loss, learner, *samples)

    return _plain(env_name, ActorCritic, optimizer, update, num_envs, num_steps)


def ppo(
    env_name: str,
    optimizer: optax.GradientTransformation,
    num_envs: int,
    num_steps: int,
    lam: float = 0.95,
) -> Plain:
    """PPO as PureJaxRL has it, which clips the critic's change, too."""

    def update(key: Array, learner: TrainState, batch: Batch) -> TrainState:
        samples = _flatten((batch, _gae(learner, batch, lam)))

        def minibatch(learner: TrainState, samples: tuple) -> tuple[TrainState, None]:
            return _descend(_ppo_loss, learner, *samples), None

        def epoch(learner: TrainState, key: Array) -> tuple[TrainState, None]:
            order = jax.random.permutation(key, num_envs * num_steps)
            order = order.reshape(NUM_MINIBATCHES, -1)
            minibatches = jax.tree.map(lambda x: jnp.take(x, order, axis=0), samples)
            return jax.lax.scan(minibatch, learner, minibatches)

        return jax.lax.scan(epoch, learner, jax.random.split(key, NUM_EPOCHS))[0]

    return _plain(env_name, ActorCritic, optimizer, update, num_envs, num_steps)


def _plain(
    env_name: str,
    network_type: Callable[[int], Any],
    optimizer: optax.GradientTransformation,
    update: Callable[[Array, TrainState, Batch], TrainState],
    num_envs: int,
    num_steps: int,
    complete_episodes: bool = False,
) -> Plain:
    env, env_params = gymnax.make(env_name)
    network = network_type(env.num_actions)

    def reset(key: Array) -> tuple[Array, Any]:
        keys = jax.random.split(key, num_envs)
        return jax.vmap(env.reset, in_axes=(0, None))(keys, env_params)

    def init(key: Array) -> State:
        key, network_key, reset_key = jax.random.split(key, 3)
        obs, env_state = reset(reset_key)
        params = network.init(network_key, obs)
        learner = TrainState.create(apply_fn=network.apply, params=params, tx=optimizer)
        return State(learner, env_state, obs, jnp.zeros(num_envs), key)

    def env_step(state: State, _: None) -> tuple[State, Batch]:
        learner, env_state, obs, episode_return, key = state
        key, action_key, step_key = jax.random.split(key, 3)
        logits, value = network.apply(learner.params, obs)
        action = jax.random.categorical(action_key, logits)
        keys = jax.random.split(step_key, num_envs)
        new_obs, env_state, reward, terminated, truncated, info = jax.vmap(
            env.step, in_axes=(0, 0, 0, None)
        )(keys, env_state, action, env_params)
        batch = Batch(
            obs=obs,
            action=action,
            log_prob=_log_prob(logits, action),
            value=value,
            reward=reward,
            terminated=terminated,
            done=terminated | truncated,
            next_obs=info["final_observation"],
            episode_return=episode_return + reward,
            mask=jnp.ones(num_envs),
        )
        so_far = jnp.where(batch.done, 0.0, batch.episode_return)
        return State(learner, env_state, new_obs, so_far, key), batch

    def collect(state: State) -> tuple[State, Batch]:
        if not complete_episodes:
            return jax.lax.scan(env_step, state, None, num_steps)
        key, reset_key = jax.random.split(state.key)
        obs, env_state = reset(reset_key)
        state = State(state.learner, env_state, obs, jnp.zeros(num_envs), key)
        state, batch = jax.lax.scan(env_step, state, None, num_steps)
        ended_before = jnp.cumsum(batch.done, axis=0) - batch.done
        return state, batch._replace(mask=1.0 * (ended_before == 0))

    def step(state: State) -> tuple[State, dict[str, Array]]:
        state, batch = collect(state)
        key, update_key = jax.random.split(state.key)
        learner = update(update_key, state.learner, batch)
        finished = batch.done & (batch.mask > 0)
        returns = jnp.where(finished, batch.episode_return, 0.0)
        return state._replace(learner=learner, key=key), {
            "env_steps": (batch.mask > 0).sum(),
            "episodes": finished.sum(),
            "episode_return": returns.sum() / finished.sum(),
        }

    return Plain(init, collect, update, step)


def _flatten(tree: Any) -> Any:
    """(T, N, ...) to (T N, ...), whose gradient XLA has faster."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)


def _descend(
    loss: Callable, learner: TrainState, batch: Batch, advantage: Array
) -> TrainState:
    loss_and_grad = jax.value_and_grad(loss)
    _, grads = loss_and_grad(learner.params, learner.apply_fn, batch, advantage)
    return learner.apply_gradients(grads=grads)


def _reinforce_loss(
    params: Any, apply: Callable, batch: Batch, advantage: Array
) -> Array:
    log_prob = _log_prob(apply(params, batch.obs)[0], batch.action)
    return -(log_prob * advantage).sum()


def _a2c_loss(params: Any, apply: Callable, batch: Batch, advantage: Array) -> Array:
    logits, value = apply(params, batch.obs)
    actor = -(_log_prob(logits, batch.action) * advantage).mean()
    critic = 0.5 * jnp.square(value - (batch.value + advantage)).mean()
    bonus = ENTROPY_COEFFICIENT * _entropy(logits).mean()
    return actor + VALUE_COEFFICIENT * critic - bonus


def _ppo_loss(params: Any, apply: Callable, batch: Batch, advantage: Array) -> Array:
    logits, value = apply(params, batch.obs)
    target = batch.value + advantage
    near = batch.value + jnp.clip(value - batch.value, -CLIP, CLIP)
    errors = jnp.square(value - target), jnp.square(near - target)
    critic = 0.5 * jnp.maximum(*errors).mean()
    scaled = (advantage - advantage.mean()) / (advantage.std(ddof=1) + 1e-8)
    ratio = jnp.exp(_log_prob(logits, batch.action) - batch.log_prob)
    clipped = jnp.clip(ratio, 1 - CLIP, 1 + CLIP)
    actor = -jnp.minimum(ratio * scaled, clipped * scaled).mean()
    bonus = ENTROPY_COEFFICIENT * _entropy(logits).mean()
    return actor + VALUE_COEFFICIENT * critic - bonus


def _log_prob(logits: Array, action: Array) -> Array:
    log_probs = jax.nn.log_softmax(logits)
    return jnp.take_along_axis(log_probs, action[..., None], axis=-1)[..., 0]


def _entropy(logits: Array) -> Array:
    log_probs = jax.nn.log_softmax(logits)
    return -(jnp.exp(log_probs) * log_probs).sum(-1)


def _gae(learner: TrainState, batch: Batch, lam: float) -> Array:
    _, next_value = learner.apply_fn(learner.params, batch.next_obs)
    ahead = GAMMA * (1.0 - batch.terminated) * next_value
    error = batch.reward + ahead - batch.value
    return _discounted_sum(error, GAMMA * lam * (1.0 - batch.done))


def _discounted_sum(x: Array, discount: Array) -> Array:
    """y_t = x_t + discount_t y_{t+1}."""

    def step(following: Array, inputs: tuple) -> tuple[Array, Array]:
        result = inputs[0] + inputs[1] * following
        return result, result

    return jax.lax.scan(step, jnp.zeros_like(x[0]), (x, discount), reverse=True)[1]
