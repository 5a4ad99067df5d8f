"""Observations that are trees: the same training as on the vector of their leaves."""

import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import trees
from trees import KINDS, Seen, world
from turns import in_turns, slow

import pgjax as pg
from pgjax._internal.contract import check_env

KEY = jax.random.key(0)
ALGORITHMS = {
    "reinforce": partial(pg.reinforce, baseline=pg.value_baseline),
    "a2c": pg.a2c,
    "ppo": partial(pg.ppo, num_epochs=2, num_minibatches=2),
    "trpo": partial(pg.trpo, num_minibatches=2, num_epochs=2),
}


def drawn(kind, **options):
    def sample(key):
        return {"step_size": jax.random.uniform(key, minval=0.5, maxval=2.0)}

    return pg.randomize(partial(world, kind, **options), sample)


# What wraps the environment, and the algorithm. Statistics of bytes are others than
# those of the floats they become: normalized trees have the leaves as floats.
WRAPPERS = {
    "none": (world, lambda x: x),
    "scaled": (world, pg.scale_rewards),
    "normalized": (partial(world, only_floats=True), pg.normalize_observations),
    "limited": (lambda kind: pg.time_limit(world(kind), 3, terminates=True), None),
    "drawn": (drawn, None),
}
CASES = [
    *(("ppo", "none", kind) for kind in KINDS if kind != "nested"),
    *in_turns(ALGORITHMS, WRAPPERS, ["nested"]),
]
FLAT: dict = {}  # what was trained on vectors


def parts(env, name, wrap=None):
    network = pg.actor_critic(env, (8,))
    algorithm = ALGORITHMS[name](network, optax.sgd(0.1))
    algorithm = wrap(algorithm) if wrap else algorithm
    whole = algorithm.complete_episodes
    return algorithm, pg.episodes(env, 4) if whole else pg.unroll(env, 4, 8)


def trained(env, name, wrap=None, num_updates=3):
    algorithm, rollout = parts(env, name, wrap)
    state, metrics = pg.train(KEY, rollout, algorithm, num_updates=num_updates)
    return algorithm, state, metrics


def network_of(params):
    """Without the statistics of observations."""
    return getattr(params, "params", params)


@pytest.mark.parametrize(("name", "wrapper", "kind"), CASES)
def test_a_tree_trains_as_the_vector_of_its_leaves(name, wrapper, kind):
    make, wrap = WRAPPERS[wrapper]
    if (name, wrapper) not in FLAT:
        FLAT[name, wrapper] = trained(make("flat"), name, wrap)[1:]
    flat, flat_metrics = FLAT[name, wrapper]
    _, state, metrics = trained(make(kind), name, wrap)
    chex.assert_trees_all_close(
        network_of(state.learner.params), network_of(flat.learner.params), atol=2e-6
    )
    chex.assert_trees_all_close(metrics, flat_metrics, rtol=1e-4, atol=1e-5)
    first = parts(make(kind), name, wrap)[0].init(KEY, make(kind).reset(KEY, 4)[0])
    moved = jax.tree.map(
        lambda x, y: float(jnp.abs(x - y).max()),
        network_of(first.params),
        network_of(state.learner.params),
    )
    assert max(jax.tree.leaves(moved)) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_every_leaf_keeps_its_type_in_a_rollout(kind):
    env = world(kind)
    algorithm, rollout = parts(env, "ppo")
    state = pg.init_train_state(KEY, rollout, algorithm)
    collect = jax.jit(
        lambda state: rollout.collect(
            KEY, algorithm.policy, state.learner.params, state.rollout_state
        )
    )
    after, batch, _ = collect(state)
    for tree, lead in (
        (after.obs, (4,)),
        (batch.obs, (8, 4)),
        (batch.next_obs, (8, 4)),
    ):
        assert jax.tree.structure(tree) == jax.tree.structure(KINDS[kind](*"abcd"))
        a, b, c, d = jax.tree.leaves(tree)
        assert [x.dtype for x in (a, b, c, d)] == ["float32", "uint8", "bool", "int32"]
        assert [x.shape for x in (a, b, c, d)] == [
            lead + shape for shape in ((2,), (2, 2, 1), (), ())
        ]
    # Nowhere in the program are the bytes of all steps turned into floats.
    text = collect.lower(state).as_text()
    assert "8x4x2x2x1xui8" in text
    assert "8x4x2x2x1xf32" not in text


@pytest.mark.parametrize("like", [slow(0), 1, slow(2), 3])
def test_one_leaf_is_that_leaf_alone(like):
    def env(wrap, like):
        def seen(place):
            return wrap(trees.look(place)[like])

        def reset(key, num_envs):
            _, place = world("flat").reset(key, num_envs)
            return seen(place), place

        def step(key, place, action):
            _, place, *rest = world("flat").step(key, place, action)
            return seen(place), place, *rest

        return world("flat")._replace(
            reset=reset, step=step, observation_space=wrap(trees.SPACES[like])
        )

    alone = trained(env(lambda x: x, like), "ppo")[1]
    in_dict = trained(env(lambda x: {"x": x}, like), "ppo")[1]
    chex.assert_trees_all_equal(alone.learner, in_dict.learner)


def test_donated_mapped_and_repeated():
    env = world("nested")
    algorithm, rollout = parts(env, "ppo", pg.normalize_observations)

    def steps(state):
        return pg.train_steps(state, rollout, algorithm, num_updates=1)[0]

    state = pg.init_train_state(KEY, rollout, algorithm)
    pointers = [
        x.unsafe_buffer_pointer()
        for x in jax.tree.leaves(state)
        if x.size and not jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    ]
    assert len(set(pointers)) == len(pointers)
    expected = jax.jit(steps)(state)
    keys = jnp.stack([KEY, jax.random.key(1)])
    both = jax.vmap(lambda key: steps(pg.init_train_state(key, rollout, algorithm)))(
        keys
    )
    first = jax.tree.map(lambda x: x[0], both)
    chex.assert_trees_all_close(first.learner, expected.learner, atol=1e-6)
    chex.assert_trees_all_equal(jax.jit(steps, donate_argnums=0)(state), expected)


def test_a_sweep_over_seeds_and_rates():
    env = world("NamedTuple")

    def make(learning_rate):
        return pg.a2c(pg.actor_critic(env, (4,)), optax.sgd(learning_rate))

    rollout = pg.unroll(env, 2, 4)
    _, metrics = pg.sweep(
        make, {"learning_rate": [0.1, 0.2]}, rollout, num_seeds=2, num_updates=2
    )
    assert metrics["value_loss"].shape == (2, 2, 2)
    assert np.isfinite(metrics["value_loss"]).all()


@pytest.mark.parametrize("name", ["reinforce", "ppo"])
def test_devices_share_the_environments(name):
    env = world("dict")
    algorithm, rollout = parts(env, name, pg.normalize_observations)

    def one(_):
        state = pg.init_train_state(KEY, rollout, algorithm, axis_name="env")
        state, _ = pg.train_step(state, rollout, algorithm, axis_name="env")
        return state.learner

    split = jax.jit(jax.vmap(one, axis_name="env"))(jnp.arange(2))
    jax.tree.map(lambda x: np.testing.assert_array_equal(x[0], x[1]), split.params)
    a = jax.tree.leaves(split.moments)[1]
    assert split.moments["b"] is None
    assert a.shape[0] == 2


def test_evaluation_saving_and_double_precision(tmp_path):
    env = world("nested")
    algorithm, state, _ = trained(env, "ppo", pg.normalize_observations)
    params = state.learner.params
    returns, lengths = pg.evaluate(KEY, env, algorithm.policy, params, num_episodes=5)
    assert returns.shape == lengths.shape == (5,)
    pg.save(tmp_path / "state", state)
    again = pg.restore(tmp_path / "state", like=state)
    chex.assert_trees_all_equal(again, state)
    with jax.enable_x64(True):
        other = world("nested")._replace(name="in double precision")
        algorithm, state, _ = trained(other, "ppo", pg.normalize_observations)
        assert {str(x.dtype) for x in jax.tree.leaves(state.learner.params.params)} == {
            "float64"
        }
        assert state.rollout_state.obs["rest"][0].dtype == jnp.uint8


def test_what_is_normalized_is_a_choice():
    env = world("dict")
    obs, _ = env.reset(KEY, 4)
    inner = parts(env, "ppo")[0]

    def which(leaves):
        state = pg.normalize_observations(inner, leaves=leaves).init(KEY, obs)
        return {name for name, x in state.moments.items() if x is not None}

    assert which(None) == {"a"}
    assert which({"a": True, "b": True, "c": False, "d": False}) == {"a", "b"}
    for leaves, says in (
        (False, "nothing to normalize.*Say which"),
        ({"a": True}, r"leaves must be True, False, or a tree.*\['a'\], \['b'\]"),
        (True, "a choice among 3 comes as float32"),
    ):
        with pytest.raises(ValueError, match=says):
            which(leaves)
    with pytest.raises(TypeError, match=r"leaves\['a'\] must be True or False, got 1"):
        which({"a": 1, "b": True, "c": True, "d": True})


def test_statistics_are_those_of_each_leaf():
    state = trained(world("dict"), "a2c", pg.normalize_observations, 1)[1]
    moments = state.learner.moments["a"]
    assert int(moments.num_samples.low) == 32
    assert moments.mean.shape == (2,)
    np.testing.assert_allclose(moments.mean[1], 0.5 * moments.mean[0], rtol=1e-5)
    np.testing.assert_allclose(moments.variance[1], moments.variance[0] / 4, rtol=1e-5)


def test_frames_are_stacked_leaf_by_leaf():
    choice = {"a": True, "rest": (True, trees.Rest(True, False))}
    env = pg.frame_stack(world("nested"), 2, leaves=choice)
    assert pg.check_env(env, num_envs=4) == []
    obs, state = env.reset(KEY, 3)
    shapes = [x.shape for x in jax.tree.leaves(obs)]
    assert shapes == [(3, 4), (3, 2, 2, 2), (3, 2), (3,)]
    assert obs["rest"][0].dtype == jnp.uint8
    after, *_ = env.step(KEY, state, jnp.ones(3, jnp.int32))
    plain, inner = world("nested").reset(KEY, 3)
    newer, *_ = world("nested").step(KEY, inner, jnp.ones(3, jnp.int32))
    np.testing.assert_array_equal(after["a"], jnp.append(plain["a"], newer["a"], 1))
    np.testing.assert_array_equal(after["rest"][1].d, newer["rest"][1].d)
    says = r"\['rest'\]\[1\].d of walk has Discrete.*leaves="
    with pytest.raises(TypeError, match=says):
        pg.frame_stack(world("nested"), 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flattened_tree_is_what_networks_see(kind):
    env = pg.flatten_observations(world(kind))
    assert pg.check_env(env, num_envs=4) == []
    obs, _ = env.reset(KEY, 5)
    expected, _ = world("flat").reset(KEY, 5)
    np.testing.assert_allclose(obs, expected, rtol=1e-6)
    space = env.observation_space
    np.testing.assert_array_equal(space.low, [-8, -8, *[0] * 8])
    np.testing.assert_array_equal(space.high, [8, 8, *[1] * 8])
    own = pg.encode(world(kind).observation_space, world(kind).reset(KEY, 5)[0])
    np.testing.assert_array_equal(own, obs)


def changed(name, change):
    """The walk, of whose `step` one leaf of the observation is changed."""
    env = world("dict")

    def step(key, place, action):
        obs, *rest = env.step(key, place, action)
        return change(obs) if name is None else {**obs, name: change(obs[name])}, *rest

    return env._replace(step=step)


def begun(change):
    env = world("dict")

    def reset(key, num_envs):
        obs, place = env.reset(key, num_envs)
        return change(obs), place

    return env._replace(reset=reset)


def spaced(**changes):
    env = world("dict")
    return env._replace(observation_space={**env.observation_space, **changes})


def without(obs, name="b"):
    return {k: x for k, x in obs.items() if k != name}


WRONG = {
    "a leaf is lost in a step": (changed(None, without), r"; obs\['b'\] is missing$"),
    "a leaf is new in a step": (
        changed(None, lambda obs: {**obs, "e": obs["a"]}),
        r"the obs of env.reset; obs was \{.*; obs\['e'\] is new$",
    ),
    "a leaf's type drifts": (
        changed("b", lambda x: x.astype(jnp.float32)),
        r"obs\['b'\] was uint8\[2,2,2,1\] and became float32\[2,2,2,1\]$",
    ),
    "a leaf's shape drifts": (
        changed("a", lambda x: x[:, :1]),
        r"obs\['a'\] was float32\[2,2\] and became float32\[2,1\]$",
    ),
    "a dict becomes a NamedTuple": (
        changed(None, lambda obs: Seen(**obs)),
        "; obs is a Seen, not a dict$",
    ),
    "a leaf that no space has": (
        begun(lambda obs: {**obs, "e": obs["a"]}),
        r"obs must be a tree like env.observation_space, .*; obs\['e'\] is new$",
    ),
    "a space that no leaf has": (
        spaced(e=pg.Discrete(2)),
        r"obs must be a tree like env.observation_space, .*; obs\['e'\] is missing$",
    ),
    "a tuple beside a dict": (
        begun(lambda obs: tuple(obs.values())),
        "obs must be a tree like env.observation_space",
    ),
    "a leaf without a batch axis": (
        begun(lambda obs: {**obs, "a": obs["a"][0]}),
        r"env.reset: obs\['a'\] must be of shape \(2, 2\) \(of "
        r"env.observation_space\['a'\], 2 environments\), got float32\[2\]; it has no",
    ),
    "a leaf's axis is another": (
        begun(lambda obs: {**obs, "b": jnp.moveaxis(obs["b"], 0, -1)}),
        r"obs\['b'\] must be of shape \(2, 2, 2, 1\).*got uint8\[2,2,1,2\]$",
    ),
    "one leaf is no array": (
        begun(lambda obs: {**obs, "c": [obs["c"], obs["c"]]}),
        r"env.reset: obs\['c'\] must be one array",
    ),
    "a choice that is a float": (
        begun(lambda obs: {**obs, "d": obs["d"] * 1.0}),
        r"obs\['d'\] must be integers, as env.observation_space\['d'\] is Discrete\(3\)"
        r".*float32\[2\]; write obs\['d'\].astype\(jnp.int32\)",
    ),
    "random keys": (
        begun(lambda obs: {**obs, "c": jax.random.split(KEY, 2)}),
        r"obs\['c'\] must be numbers, got random keys",
    ),
    "no space": (spaced(a=3.0), r"env.observation_space\['a'\] must be a pg.Discrete"),
    "an empty tree": (
        world("dict")._replace(observation_space={}),
        r"env.observation_space must have a space in it, got \{\}",
    ),
    "a wrong bound": (
        spaced(a=pg.Box(np.zeros(3), 1.0, (2,))),
        r"env.observation_space\['a'\].low has shape \(3,\)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_tree_is_told_by_its_leaf(case):
    env, says = WRONG[case]
    with pytest.raises(TypeError, match=says) as error:
        check_env(env, 2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("env", "says"),
    [
        (
            spaced(a=pg.Box(-0.1, 8.0, (2,))),
            r"an obs\['a'\] of -.* at \[0\] is outside ",
        ),
        (
            spaced(b=pg.Box(0, 100, (2, 2, 1))),
            r"env.observation_space\['b'\], whose high is 100 there",
        ),
        (spaced(d=pg.Discrete(2)), r"an obs\['d'\] of 2 is outside"),
        (changed("a", lambda x: x / 0.0), r"an obs\['a'\] that is not finite"),
    ],
)
def test_a_leaf_outside_its_space_is_told(env, says):
    (line,) = pg.check_env(env, num_envs=8)
    assert re.search(says, line)


@pytest.mark.parametrize("kind", KINDS)
def test_the_walk_keeps_to_the_contract(kind):
    assert pg.check_env(world(kind), num_envs=8) == []
