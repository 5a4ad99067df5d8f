"""pgx's games as `Env` values; the only file that imports pgx."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pgx

from pgjax.envs.adapting import batched, check_name, limit_of
from pgjax.types import Array, Discrete, Env, Key

MAX_STEPS = 10_000  # pgx has no time limits
LEARNER = 0  # the player that learns; who begins is drawn at every reset
GIVEN: dict[str, dict[str, Any]] = {"go_9x9": {"size": 9}}  # constructors' arguments

Opponent = Callable[[Key, Any], Array]  # (key, state of the game) -> a legal action


def names() -> list[str]:
    """The names that `make` knows."""
    return list(pgx.available_envs())


def random_legal_action(key: Key, state: Any) -> Array:
    """One of the legal actions, each as likely."""
    return jax.random.categorical(key, jnp.where(state.legal_action_mask, 0.0, -1e9))


def make(
    name: str,
    *,
    time_limit: int | None = None,
    flat: bool = True,
    opponent: Opponent = random_legal_action,
    **options: Any,
) -> Env:
    """A game of pgx, such as "2048", "minatar-breakout" or "tic_tac_toe".

    In games of several players the policy plays one of them, and sees and acts when it
    is its turn; the others are played by `opponent`, in the same step. Who begins is
    drawn at every reset. Rewards are those of the policy's player, at its own moves
    and at those of the others before its next turn.

    An illegal action ends the game, with pgx's penalty of -1. The end of a game is a
    terminal state; that is also a draw, or a score, after so many moves as pgx allows
    in chess, shogi or Go, since that is a rule of the game. The time limit, which pgx
    does not have, truncates.

    Args:
      name: see `names`.
      time_limit: steps per episode, that is moves of the policy; 10,000 by default.
      flat: see `pgjax.envs.adapting.batched`.
      opponent: maps a key and a state of the game to an action; by default any legal
        one.
      **options: of the game's constructor, such as size=5 of hex.

    Raises:
      ValueError: for an unknown name, with the nearest ones; for a time limit below 1.
      TypeError: for an option that the game does not have.
    """
    check_name("pgx", name, names())
    game = pgx.make(name)
    if options:
        game = type(game)(**{**GIVEN.get(name, {}), **options})
    alone = game.num_players == 1

    def others_move(key: Key, state: Any) -> tuple[Any, Array]:
        """Where the game is at the policy's turn, and its rewards since its last."""

        def waits(carry: tuple) -> Array:
            state = carry[1]
            return (state.current_player != LEARNER) & ~state.terminated

        def move(carry: tuple) -> tuple:
            key, state, reward = carry
            key, action_key, game_key = jax.random.split(key, 3)
            state = game.step(state, opponent(action_key, state), game_key)
            return key, state, reward + state.rewards[LEARNER]

        start = key, state, state.rewards[LEARNER]
        _, state, reward = jax.lax.while_loop(waits, move, start)
        return state, reward

    def reset(key: Key) -> tuple[Any, Any]:
        start_key, others_key = jax.random.split(key)
        state = game.init(key if alone else start_key)
        if not alone:
            state, _ = others_move(others_key, state)
        return state.observation, state

    def step(key: Key, state: Any, action: Array) -> tuple:
        step_key, others_key = jax.random.split(key)
        state = game.step(state, action, key if alone else step_key)
        reward = state.rewards[LEARNER]
        if not alone:
            state, reward = others_move(others_key, state)
        return state.observation, state, reward, state.terminated, jnp.bool_(False)

    max_steps = limit_of(time_limit, MAX_STEPS)
    return batched(
        f"pgx:{name}", reset, step, Discrete(game.num_actions), max_steps, flat=flat
    )
