"""Environments on the host: the same experience, and the same agents, as in JAX."""

import gc
import pathlib
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from host_walk import LIMIT, SIZE, START, Walks, host_walk, jax_walk

import pgjax as pg
from pgjax._internal.host_envs import HostEnvError, HostEnvs

NUM_ENVS, NUM_STEPS = 5, 16


@pytest.fixture(autouse=True)
def no_warning():
    """Unless a test says so, no episodes are cut."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


def ppo(env, **options):
    network = pg.actor_critic(env, (8,))
    options = {"num_epochs": 2, "num_minibatches": 2} | options
    return pg.ppo(network, optax.adam(0.01), **options)


def assert_equal(one, other, *, tolerance=1e-6):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=tolerance),
        one,
        other,
    )


def collected(env, rollouts=2):
    """A rollout after another, of parameters that are the same in both worlds."""
    algorithm = ppo(env)
    rollout = pg.unroll(env, NUM_ENVS, NUM_STEPS)
    obs = rollout.observe(jax.random.key(0))
    params = algorithm.init(jax.random.key(1), obs).params
    state, found = rollout.init(jax.random.key(2)), []
    for i in range(rollouts):
        key = jax.random.key(3 + i)
        state, *rows = rollout.collect(key, algorithm.policy, params, state)
        found.append(rows)
    return found


def test_transitions_are_those_of_the_same_environment_in_jax():
    host, compiled = collected(host_walk()), collected(jax_walk())
    for (batch, ended), (batch_too, ended_too) in zip(host, compiled, strict=True):
        assert_equal(batch._asdict(), batch_too._asdict())
        assert_equal(ended._asdict(), ended_too._asdict())
        assert batch.terminated.any()
        assert batch.truncated.any()
        types = jax.tree.map(lambda x, y: (x.dtype, y.dtype), batch, batch_too)
        assert all(x == y for x, y in jax.tree.leaves(types, is_leaf=_is_pair))


def _is_pair(x):
    return isinstance(x, tuple) and len(x) == 2 and isinstance(x[0], np.dtype)


@pytest.mark.parametrize("factory", [ppo, pg.a2c, pg.trpo])
def test_agents_are_those_of_the_same_environment_in_jax(factory):
    outcomes = []
    for env in (host_walk(), jax_walk()):
        algorithm = ppo(env)
        if factory is not ppo:
            algorithm = factory(pg.actor_critic(env, (8,)), optax.adam(0.01))
        rollout = pg.unroll(env, NUM_ENVS, NUM_STEPS)
        state, metrics = pg.train(jax.random.key(4), rollout, algorithm, num_updates=3)
        outcomes.append((state.learner.params, metrics, state.recent_returns))
        assert int(state.num_updates) == 3
        assert int(state.num_episodes) == int(metrics["episodes"].sum()) > 0
    assert_equal(*outcomes, tolerance=1e-5)


def test_wrapped_algorithms_train_as_well():
    env = host_walk()
    algorithm = pg.scale_rewards(pg.normalize_observations(ppo(env)), gamma=0.99)
    rollout = pg.unroll(env, NUM_ENVS, NUM_STEPS)
    state, metrics = pg.train(jax.random.key(0), rollout, algorithm, num_updates=2)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(metrics))
    assert not pg.diverged(state, jax.tree.map(lambda x: x[-1], metrics))


def test_a_truncated_step_has_the_observation_that_came_before_the_reset():
    for batch, _ in collected(host_walk()):
        cut = np.asarray(batch.truncated & ~batch.terminated)
        assert cut.any()
        reset = np.eye(SIZE)[START]
        after = np.asarray(batch.obs)[1:][cut[:-1]]  # where the next episode begins
        np.testing.assert_array_equal(after, np.tile(reset, (len(after), 1)))
        # The final observation is where the action led.
        moved = np.asarray(batch.obs).argmax(-1) + 2 * np.asarray(batch.action) - 1
        np.testing.assert_array_equal(np.asarray(batch.next_obs).argmax(-1), moved)
        assert (moved[cut] != START).any()


def test_a_truncated_step_bootstraps_from_that_observation():
    """Generalised advantages of a batch, by hand, with a critic that knows places."""
    (batch, _), _ = collected(host_walk())
    value = jnp.arange(SIZE, dtype=jnp.float32)
    v, v_next = (x @ value for x in (batch.obs, batch.next_obs))
    advantage = pg.gae(
        reward=batch.reward,
        value=v,
        next_value=v_next,
        terminated=batch.terminated,
        truncated=batch.truncated,
        gamma=0.9,
        lam=0.8,
    )
    advantage = np.asarray(advantage[0] if isinstance(advantage, tuple) else advantage)
    cut = np.asarray(batch.truncated)
    one_step = np.asarray(batch.reward + 0.9 * v_next - v)
    np.testing.assert_allclose(advantage[cut], one_step[cut], atol=1e-5)


def test_the_time_limit_is_the_librarys_and_a_terminal_step_stays_one():
    (batch, ended), _ = collected(host_walk())
    lengths = np.asarray(ended.lengths)[np.asarray(ended.finished)]
    assert lengths.max() == LIMIT
    assert not (np.asarray(batch.terminated) & np.asarray(batch.truncated)).any()


def test_the_same_key_gives_the_same_agent_twice():
    env = host_walk()
    runs = [
        pg.train(jax.random.key(7), pg.unroll(env, 3, 8), ppo(env), num_updates=3)
        for _ in range(2)
    ]
    (one, metrics), (other, metrics_too) = runs
    assert_equal(one.learner, other.learner, tolerance=0)
    assert_equal(metrics, metrics_too, tolerance=0)


def test_seeds_differ_between_environments_agents_and_rollouts_begun_anew():
    seen = []

    class Noted(Walks):
        def start(self, seeds):
            seen.append(seeds)
            return super().start(seeds)

    env = host_walk(Noted)
    algorithm = ppo(env)
    rollout = pg.unroll(env, 4, 8)
    states = [
        pg.init_train_state(jax.random.key(i), rollout, algorithm) for i in (0, 1, 0)
    ]
    for state in states:
        pg.train_step(state, rollout, algorithm)
    first, second, again = seen
    np.testing.assert_array_equal(first, again)
    assert len(np.unique([first, second])) == 8
    assert first.dtype == np.uint32


def test_a_rollout_goes_on_where_it_was_and_keeps_count_of_episodes():
    env = host_walk()
    algorithm, rollout = ppo(env), pg.unroll(env, 2, 4)
    state = pg.init_train_state(jax.random.key(0), rollout, algorithm)
    lengths = []
    for _ in range(6):  # episodes of up to 6 steps are longer than a rollout of 4
        state, metrics = pg.train_step(state, rollout, algorithm)
        lengths += [metrics["episode_length"]] if metrics["episodes"] else []
    assert max(lengths) > 4


def test_a_restored_state_begins_new_episodes_and_no_half_ones_count(tmp_path):
    env = host_walk()
    algorithm = ppo(env)
    rollout = pg.unroll(env, NUM_ENVS, 4)  # whose episodes run across rollouts
    state, _ = pg.train(jax.random.key(0), rollout, algorithm, num_updates=3)
    pg.save(tmp_path / "state", state)
    rollout = pg.unroll(env, NUM_ENVS, 4)  # as another process has it
    like = pg.init_train_state(jax.random.key(1), rollout, algorithm)
    restored = pg.restore(tmp_path / "state", like)
    assert_equal(restored.learner, state.learner, tolerance=0)
    key = jax.random.key(5)
    _, batch, ended = rollout.collect(
        key, algorithm.policy, restored.learner.params, restored.rollout_state
    )
    np.testing.assert_array_equal(batch.obs[0].argmax(-1), [START] * NUM_ENVS)
    np.testing.assert_array_equal(ended.lengths[0], [1] * NUM_ENVS)
    np.testing.assert_array_equal(ended.returns[0], batch.reward[0])
    ends = [pg.train_steps(restored, rollout, algorithm, num_updates=2)]
    other = pg.unroll(env, NUM_ENVS, 4)
    ends.append(pg.train_steps(restored, other, algorithm, num_updates=2))
    assert_equal(ends[0][0].learner, ends[1][0].learner, tolerance=0)
    assert int(ends[0][0].num_updates) == 5


def test_a_state_that_was_left_behind_begins_anew_with_a_warning():
    env = host_walk()
    algorithm, rollout = ppo(env), pg.unroll(env, 2, 4)
    state = pg.init_train_state(jax.random.key(0), rollout, algorithm)
    old, _ = pg.train_step(state, rollout, algorithm)
    pg.train_step(old, rollout, algorithm)
    with pytest.warns(RuntimeWarning, match="those that were going on are cut"):
        pg.train_step(old, rollout, algorithm)


def test_two_trainings_on_one_rollout_are_no_mistake():
    """Each begins its own episodes; the fixture makes a warning an error."""
    env = host_walk()
    algorithm, rollout = ppo(env), pg.unroll(env, 2, 4)
    for key in (jax.random.key(0), jax.random.key(1)):
        state, _ = pg.train(key, rollout, algorithm, num_updates=2)
        alone, _ = pg.train(key, pg.unroll(env, 2, 4), algorithm, num_updates=2)
        assert_equal(state.learner, alone.learner, tolerance=0)


def test_after_close_a_rollout_begins_anew():
    env = host_walk()
    algorithm, rollout = ppo(env), pg.unroll(env, 2, 4)
    state, _ = pg.train(jax.random.key(0), rollout, algorithm, num_updates=1)
    rollout.close()
    with pytest.warns(RuntimeWarning, match="begins new episodes"):
        state, _ = pg.train_step(state, rollout, algorithm)
    assert int(state.num_updates) == 2


def test_seeds_and_actions_of_an_evaluation_are_drawn_from_keys_of_their_own():
    """And only so many episodes are played as were asked for."""
    used, played = [], []

    class Noted(Walks):
        def start(self, seeds):
            used.append(seeds)
            return super().start(seeds)

        def step(self, which, action):
            played.append(which)
            return super().step(which, action)

    def policy(params, obs):
        return pg.Categorical(jnp.zeros((len(obs), 2)))

    key = jax.random.key(5)
    returns, lengths = pg.evaluate(
        key, host_walk(Noted), policy, (), num_episodes=70, greedy=False
    )
    assert len(returns) == len(lengths) == 70
    assert sum(which.sum() for which in played) == lengths.sum()
    assert len(np.unique(np.concatenate(used))) == 128
    for number, seeds in enumerate(used):
        own = jax.random.fold_in(key, number)
        bits = [jax.random.bits(k, (64,), jnp.uint32) for k in (key, own)]
        assert not any((seeds == x).any() for x in bits)


def test_two_agents_with_a_rollout_each_train_as_each_does_alone():
    env, keys = host_walk(), [jax.random.key(0), jax.random.key(1)]
    algorithm = ppo(env)

    def begin(key):
        rollout = pg.unroll(env, 3, 8)
        return rollout, pg.init_train_state(key, rollout, algorithm)

    agents = [begin(key) for key in keys]
    for _ in range(3):  # taking turns
        agents = [
            (rollout, pg.train_step(state, rollout, algorithm)[0])
            for rollout, state in agents
        ]
    for key, (_, state) in zip(keys, agents, strict=True):
        alone, _ = pg.train(key, pg.unroll(env, 3, 8), algorithm, num_updates=3)
        assert_equal(state.learner, alone.learner, tolerance=0)
    first, second = (jax.tree.leaves(state.learner.params)[0] for _, state in agents)
    assert not np.allclose(first, second)


def test_episodes_are_complete_and_padded_with_weight_0():
    env = host_walk()
    network = pg.mlp_policy(env, (8,))
    algorithm = pg.reinforce(network, optax.adam(0.01))
    rollout = pg.episodes(env, NUM_ENVS)
    params = algorithm.init(
        jax.random.key(0), rollout.observe(jax.random.key(0))
    ).params
    lengths = set()
    for i in range(6):
        state = rollout.init(jax.random.key(0))
        _, batch, ended = rollout.collect(
            jax.random.key(i), algorithm.policy, params, state
        )
        done = np.asarray(batch.terminated | batch.truncated)
        np.testing.assert_array_equal(done.sum(0), 1)
        last = done.argmax(0)
        steps = np.arange(len(done))[:, None]
        np.testing.assert_array_equal(batch.weight, (steps <= last).astype(np.float32))
        np.testing.assert_array_equal(ended.finished, done)
        for env_number, end in enumerate(last):
            rewards = np.asarray(batch.reward)[: end + 1, env_number]
            assert ended.lengths[end, env_number] == end + 1
            assert np.isclose(ended.returns[end, env_number], rewards.sum(), atol=1e-6)
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(batch))
        assert len(done) in (4, LIMIT)
        lengths.add(len(done))
    assert LIMIT in lengths


def test_reinforce_learns_to_go_right():
    env = host_walk()
    network = pg.mlp_policy(env, (8,))
    algorithm = pg.reinforce(network, optax.adam(0.05), baseline=pg.leave_one_out)
    state, metrics = pg.train(
        jax.random.key(0), pg.episodes(env, 16), algorithm, num_updates=20
    )
    assert metrics["episode_return"][-1] > 0.7 > 0.3 > metrics["episode_return"][0]
    returns, lengths = pg.evaluate(
        jax.random.key(1),
        env,
        algorithm.policy,
        state.learner.params,
        num_episodes=70,  # more than are open at once
    )
    np.testing.assert_allclose(returns, 0.8, atol=1e-6)  # two steps of -0.1, and 1
    np.testing.assert_array_equal(lengths, 3)


def test_evaluation_is_that_of_the_same_environment_in_jax_where_it_is_greedy():
    found = []
    for env in (host_walk(), jax_walk()):
        algorithm = ppo(env)
        obs = jnp.zeros((1, SIZE))
        params = algorithm.init(jax.random.key(3), obs).params
        found.append(
            pg.evaluate(
                jax.random.key(0), env, algorithm.policy, params, num_episodes=4
            )
        )
    assert_equal(*found)


def test_complete_episodes_are_asked_for_where_an_algorithm_needs_them():
    env = host_walk()
    algorithm = pg.reinforce(pg.mlp_policy(env, (8,)), optax.adam(0.01))
    with pytest.raises(ValueError, match="this algorithm needs complete episodes"):
        pg.train(jax.random.key(0), pg.unroll(env, 2, 4), algorithm, num_updates=1)


@pytest.mark.parametrize("way", ["jit", "vmap", "sweep", "mesh", "evaluate"])
def test_what_is_compiled_or_split_is_refused_in_a_sentence(way):
    env = host_walk()
    algorithm, rollout = ppo(env), pg.unroll(env, 2, 4)

    def train(key):
        return pg.train(key, rollout, algorithm, num_updates=1)[1]

    told = "environments on the host cannot be stepped within jax.jit, jax.vmap or"
    calls = {
        "jit": (TypeError, told, lambda: jax.jit(train)(jax.random.key(0))),
        "vmap": (
            TypeError,
            told,
            lambda: jax.vmap(train)(jax.random.split(jax.random.key(0), 2)),
        ),
        "sweep": (
            TypeError,
            told,
            lambda: pg.sweep(
                lambda learning_rate: pg.ppo(
                    pg.actor_critic(env, (8,)), optax.adam(learning_rate)
                ),
                {"learning_rate": [0.1, 0.2]},
                rollout,
                num_seeds=1,
                num_updates=1,
            ),
        ),
        "mesh": (
            ValueError,
            "live on the host, and no mesh splits them",
            lambda: pg.train(
                jax.random.key(0),
                rollout,
                algorithm,
                num_updates=1,
                mesh=pg.make_mesh(jax.devices()[:1], env=1),
            ),
        ),
        "evaluate": (
            TypeError,
            told,
            lambda: jax.jit(
                lambda key, params: pg.evaluate(key, env, algorithm.policy, params)
            )(
                jax.random.key(0),
                algorithm.init(jax.random.key(0), jnp.zeros((1, SIZE))).params,
            ),
        ),
    }
    error, message, call = calls[way]
    with pytest.raises(error, match=message):
        call()


def test_wrappers_of_jax_environments_refuse_one_on_the_host():
    for wrap in (pg.flatten_observations, lambda env: pg.frame_stack(env, 2)):
        with pytest.raises(TypeError, match="must be of type Env"):
            wrap(host_walk())


class Broken(Walks):
    def step(self, which, action):
        raise OSError("the cable is out")


class Narrow(Walks):
    def look(self):
        return super().look()[:, 1:]


class Wordy(Walks):
    def step(self, which, action):
        obs, reward, _, cut = super().step(which, action)
        return obs, reward, np.array(["no"] * len(cut)), cut


class Flagless(Walks):
    def step(self, which, action):
        obs, reward, _, cut = super().step(which, action)
        return obs, reward, False, cut


class Unmade(Walks):
    def __init__(self, num_envs):
        raise RuntimeError("no licence")


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Broken, r"^host walk failed in step: OSError: the cable is out$"),
        (Narrow, r"host walk: reset gave observations of shape \(2, 6\), and must"),
        (Flagless, r"host walk: step gave terminated of shape \(\), and must give"),
        (Wordy, r"host walk: step gave terminated that is no number, array"),
        (Unmade, r"^host walk cannot be made: RuntimeError: no licence$"),
    ],
)
def test_what_a_simulator_does_wrong_is_one_line_that_names_it(kind, told):
    env = host_walk(kind)
    with pytest.raises(HostEnvError, match=told):
        pg.train(jax.random.key(0), pg.unroll(env, 2, 4), ppo(env), num_updates=1)


@pytest.mark.parametrize("reward", [np.nan, np.inf, -np.inf])
def test_a_start_forgets_returns_that_are_no_number(reward):
    given = [reward]

    class Odd(Walks):
        def step(self, which, action):
            obs, one, *ends = super().step(which, action)
            return obs, one + given[0], *ends

    envs, everyone = HostEnvs(host_walk(Odd), 2), np.ones(2, bool)
    action = np.zeros(2, np.int32)
    envs.start(np.arange(2, dtype=np.uint32))
    assert not np.isfinite(envs.step(action, everyone).returns).any()
    given[0] = 0.0
    envs.start(np.arange(2, dtype=np.uint32))
    happened = envs.step(action, everyone)
    np.testing.assert_array_equal(happened.returns, np.full(2, -0.1, np.float32))
    np.testing.assert_array_equal(happened.lengths, 1)


class Seen(Walks):
    """What is seen are three parts, each of a type of its own."""

    def look(self):
        image = np.zeros((len(self.position), 4, 4, 1), np.uint8)
        image[:, 0, 0, 0] = 40 * self.position
        place = (self.position / SIZE).astype(np.float32)[:, None]
        return {"image": image, "rest": (place, self.position.astype(np.int32))}

    def step(self, which, action):
        self.position[which] += 2 * action[which] - 1
        ended = (self.position == 0) | (self.position == SIZE - 1)
        reward = np.where(self.position == SIZE - 1, 1.0, -0.1)
        return self.look(), reward, ended, np.zeros_like(ended)


def walk_of_parts(make=Seen):
    shape = jax.ShapeDtypeStruct
    place, kind = shape((1,), np.float32), shape((), np.int32)
    return host_walk(make)._replace(
        obs={"image": shape((4, 4, 1), np.uint8), "rest": (place, kind)},
        observation_space={
            "image": pg.Box(0, 255, (4, 4, 1)),
            "rest": (pg.Box(0.0, 1.0, (1,)), pg.Discrete(SIZE)),
        },
    )


@pytest.mark.parametrize("gather", ["unroll", "episodes"])
def test_observations_of_several_parts_are_learned_from(gather):
    env = walk_of_parts()
    algorithm = pg.normalize_observations(ppo(env))
    rollout = pg.unroll(env, 3, 8) if gather == "unroll" else pg.episodes(env, 3)
    state, metrics = pg.train(jax.random.key(0), rollout, algorithm, num_updates=1)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(metrics))
    params = state.learner.params
    _, batch, _ = rollout.collect(
        jax.random.key(1), algorithm.policy, params, rollout.init(jax.random.key(0))
    )
    image, (place, kind) = batch.obs["image"], batch.obs["rest"]
    assert (image.dtype, place.dtype, kind.dtype) == (np.uint8, np.float32, np.int32)
    counts = batch.weight > 0
    np.testing.assert_array_equal(image[..., 0, 0, 0][counts], 40 * kind[counts])
    returns, _ = pg.evaluate(
        jax.random.key(2), env, algorithm.policy, params, num_episodes=3
    )
    assert np.isfinite(returns).all()
    assert pg.check_env(env, num_envs=3, seconds=2.0) == []


@pytest.mark.parametrize(
    ("obs", "told"),
    [
        ({"image": jax.ShapeDtypeStruct((4, 4, 1), np.uint8)}, "must be a tree like"),
        (jax.ShapeDtypeStruct((7,), np.float32), "must be a tree like"),
        (
            walk_of_parts().obs | {"image": jax.ShapeDtypeStruct((4, 4), np.uint8)},
            r"obs\['image'\] must be of shape \(4, 4, 1\)",
        ),
        (
            walk_of_parts().obs
            | {"rest": (jax.ShapeDtypeStruct((1,), np.float32),) * 2},
            r"obs\['rest'\]\[1\] must be of shape \(\)",
        ),
    ],
)
def test_observations_that_are_not_those_of_the_space_are_told(obs, told):
    with pytest.raises(TypeError, match=told):
        pg.unroll(walk_of_parts()._replace(obs=obs), 2, 4)


def test_after_a_failure_a_rollout_begins_anew():
    fails = [False]

    class Moody(Walks):
        def step(self, which, action):
            if fails[0]:
                raise OSError("not now")
            return super().step(which, action)

    env = host_walk(Moody)
    algorithm, rollout = ppo(env), pg.unroll(env, 2, 3)
    state = pg.init_train_state(jax.random.key(0), rollout, algorithm)
    state, _ = pg.train_step(state, rollout, algorithm)
    fails[0] = True
    with pytest.raises(HostEnvError, match="not now"):
        pg.train_step(state, rollout, algorithm)
    fails[0] = False
    with pytest.warns(RuntimeWarning, match="begins new episodes"):
        _, _, ended = rollout.collect(
            state.key, algorithm.policy, state.learner.params, state.rollout_state
        )
    np.testing.assert_array_equal(ended.lengths[0], 1)


def test_simulators_are_closed_once_by_hand_when_forgotten_and_when_python_ends():
    class Counted(Walks):
        made, closed = 0, 0

    env = host_walk(Counted)
    algorithm, rollout = ppo(env), pg.unroll(env, 2, 4)
    pg.train(jax.random.key(0), rollout, algorithm, num_updates=1)
    assert (Counted.made, Counted.closed) == (1, 0)
    rollout.close()
    rollout.close()
    assert Counted.closed == 1
    pg.train(jax.random.key(0), rollout, algorithm, num_updates=1)  # opens others
    assert (Counted.made, Counted.closed) == (2, 1)
    del rollout
    gc.collect()
    assert Counted.closed == 2
    code = """
import jax, pgjax as pg
from host_walk import Walks, host_walk

class Loud(Walks):
    def close(self):
        print("closed")

env = host_walk(Loud)
rollout = pg.unroll(env, 2, 4)
rollout.collect(
    jax.random.key(0),
    lambda params, obs: pg.Categorical(obs[:, :2]),
    (),
    rollout.init(jax.random.key(0)),
)
print("done")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        cwd=pathlib.Path(__file__).parents[1],
    )
    assert done.stdout.split() == ["done", "closed"]


def test_a_policy_for_other_actions_is_told_before_any_step():
    env = host_walk()
    rollout = pg.unroll(env, 2, 4)
    with pytest.raises(TypeError, match="the policy chooses among 3 actions"):
        rollout.collect(
            jax.random.key(0),
            lambda params, obs: pg.Categorical(jnp.zeros((len(obs), 3))),
            (),
            rollout.init(jax.random.key(0)),
        )


def test_what_cannot_be_looked_into_is_compiled_once_for_all_updates():
    env, traces = host_walk(), []
    algorithm = ppo(env)
    stream = iter(())  # which tells nothing of what it will give

    def policy(params, obs):
        traces.append(stream)
        return algorithm.policy(params, obs)

    opaque = algorithm._replace(policy=policy)
    rollout = pg.unroll(env, 2, 4)
    counts = []
    for num_updates in (1, 5):
        traces.clear()
        pg.train(jax.random.key(0), rollout, opaque, num_updates=num_updates)
        counts.append(len(traces))
    assert counts[0] == counts[1] > 0
