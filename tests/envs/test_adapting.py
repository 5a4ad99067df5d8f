import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pgjax as pg
from pgjax._internal.contract import check_env
from pgjax.envs.adapting import as_array, batched, check_name, limit_of

GOAL = 5


def counter(*, max_steps=3, actions=None, truncates=False, flat=True):
    """Counts up by its action, which it tells; terminal at GOAL. Its types drift."""

    def reset(key):
        del key
        return {"position": jnp.zeros(2), "flag": True}, 0  # a weak type, as a state

    def step(key, position, action):
        del key
        position = position + action.sum().astype(jnp.float16)
        obs = {"position": jnp.full(2, position), "flag": position > 0}
        return obs, position, position[None], position >= GOAL, truncates

    space = actions or pg.Box(-1.0, 1.0, (2,))
    return batched("suite:counter", reset, step, space, max_steps, flat=flat)


def play(env, actions, num_envs=2):
    obs, state = env.reset(jax.random.key(0), num_envs)
    rows = []
    for action in actions:
        action = jnp.stack([jnp.asarray(action)] * num_envs)
        obs, state, *rest = env.step(jax.random.key(0), state, action)
        rows.append([np.asarray(x)[0] for x in (obs, *rest)])
    return zip(*rows, strict=True)


def test_an_adapted_environment_keeps_to_the_contract():
    env = counter()
    check_env(env, 3)
    key = jax.eval_shape(lambda: jax.random.key(0))
    obs, state = jax.eval_shape(lambda key: env.reset(key, 3), key)
    after = jax.eval_shape(env.step, key, state, jnp.zeros((3, 2)))
    for leaf in jax.tree.leaves((obs, state, after)):
        assert not leaf.weak_type
    assert env.observation_space.shape == (3,)
    assert obs.dtype == after[2].dtype == jnp.float32


def test_the_last_step_within_the_limit_is_truncated():
    _, rewards, terminated, truncated = play(counter(), [[0.5, 0.5]] * 3)
    assert [*truncated] == [False, False, True]
    assert not any(terminated)
    assert [*rewards] == [1.0, 2.0, 3.0]


def test_a_terminal_step_at_the_limit_is_no_truncation():
    env = counter(actions=pg.Discrete(9), max_steps=2)
    _, _, terminated, truncated = play(env, [GOAL - 1, 1])
    assert [*terminated] == [False, True]
    assert not any(truncated)


def test_what_the_suite_calls_truncated_is():
    _, _, _, truncated = play(counter(truncates=True), [[0.0, 0.0]])
    assert [*truncated] == [True]


def test_continuous_actions_are_clipped_on_their_way_in():
    _, rewards, _, _ = play(counter(), [[70.0, 0.25]])
    assert [*rewards] == [1.25]


def test_observations_of_several_parts_become_one_vector():
    obs, *_ = play(counter(), [[1.0, 1.0]])
    np.testing.assert_array_equal(obs[0], [1.0, 2.0, 2.0])  # the flag first, by name


def test_an_image_keeps_its_shape():
    image = as_array({"image": np.arange(12, dtype=np.uint8).reshape(2, 2, 3)})
    assert image.shape == (2, 2, 3)
    assert image.dtype == jnp.float32
    assert image[1, 1, 2] == 11.0


def test_environments_have_keys_of_their_own():
    def reset(key):
        return jax.random.normal(key, (1,)), jnp.float32(0.0)

    def step(key, state, action):
        return jax.random.normal(key, (1,)), state, state, False, False

    env = batched("suite:noise", reset, step, pg.Discrete(2), 9)
    obs, state = env.reset(jax.random.key(0), 5)
    after = env.step(jax.random.key(1), state, jnp.zeros(5, jnp.int32))[0]
    assert len(np.unique([obs, after])) == 10


def test_code_of_others_may_broadcast_and_promote():
    def reset(key):
        del key
        return jnp.zeros((3, 2)) - jnp.ones(2), jnp.int32(1) * jnp.float32(1.0)

    def step(key, state, action):
        return jnp.zeros((3, 2)) - jnp.ones(2), state * action, state, False, False

    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        env = batched("suite:loose", reset, step, pg.Discrete(2), 9)
        _, state = env.reset(jax.random.key(0), 2)
        env.step(jax.random.key(0), state, jnp.zeros(2, jnp.int32))


def test_a_suite_may_change_its_state_in_place():
    def reset(key):
        del key
        return jnp.zeros(1), {"metrics": jnp.float32(0.0)}

    def step(key, state, action):
        state["metrics"] = 1
        return jnp.zeros(1), state, 0.0, False, False

    env = batched("suite:careless", reset, step, pg.Discrete(2), 9)
    check_env(env, 2)


def test_unknown_names_are_told_with_the_nearest():
    with pytest.raises(ValueError, match="brax:halfchetah'; did you mean brax:halfch"):
        check_name("brax", "halfchetah", ["ant", "halfcheetah"])
    with pytest.raises(ValueError, match="brax:zzz'; there are brax:ant, brax:half"):
        check_name("brax", "zzz", ["ant", "halfcheetah"])
    check_name("brax", "ant", ["ant", "halfcheetah"])


def test_the_time_limit_is_the_users_or_else_the_environments():
    assert limit_of(None, np.int32(7)) == 7
    assert limit_of(5, 7) == 5
    with pytest.raises(ValueError, match="time_limit must be at least 1, got 0"):
        limit_of(0, 7)
    with pytest.raises(TypeError, match="time_limit must be an integer, got '5'"):
        limit_of("5", 7)


def test_a_suites_own_tree_is_a_choice():
    flat, own = counter(), counter(flat=False)
    assert own.observation_space == {
        "position": pg.Box(-jnp.inf, jnp.inf, (2,)),
        "flag": pg.Box(0.0, 1.0, ()),
    }
    assert flat.observation_space.shape == (3,)
    assert pg.check_env(own, num_envs=2) == []
    obs, _ = own.reset(jax.random.key(0), 2)
    assert obs["flag"].dtype == bool
    with pytest.raises(TypeError, match="flat must be True or False"):
        counter(flat="no")
