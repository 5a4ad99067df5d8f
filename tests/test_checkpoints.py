"""Checkpoints through the library: what was saved is what is restored, or an error."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pgjax as pg
from pgjax import checkpoints
from pgjax._internal import replacement
from pgjax._internal.divergence import QUANTITIES

STATE = {
    "params": (jnp.arange(6.0).reshape(2, 3), jnp.ones((), jnp.bfloat16)),
    "counts": np.array([1, 2**40]),
    "flags": jnp.array([True, False]),
    "nothing": jnp.zeros((0, 4)),
    "key": jax.random.key(7, impl="rbg"),
    "keys": jax.random.split(jax.random.key(1), 3),
}


def plain(tree):
    return [
        np.asarray(jax.random.key_data(x))
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        else np.asarray(x)
        for x in jax.tree.leaves(tree)
    ]


def shapes(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "state"
    pg.save(path, STATE)
    return path


def test_every_leaf_comes_back_with_its_type(saved):
    found = pg.restore(saved, shapes(STATE))
    assert jax.tree.structure(found) == jax.tree.structure(STATE)
    for one, other in zip(plain(found), plain(STATE), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    assert found["key"].dtype == STATE["key"].dtype
    np.testing.assert_array_equal(
        jax.random.uniform(found["key"]), jax.random.uniform(STATE["key"])
    )


def test_training_goes_on_to_the_same_bits(tmp_path):
    env = pg.make_env("CartPole-v1")
    algorithm = pg.reinforce(pg.mlp_policy(env, (8,)), optax.adam(0.01))
    rollout = pg.episodes(env, 4)
    train = jax.jit(
        lambda state: pg.train_steps(state, rollout, algorithm, num_updates=2)[0]
    )
    init = jax.jit(lambda: pg.init_train_state(jax.random.key(0), rollout, algorithm))
    half = train(init())
    pg.save(tmp_path / "half", half)
    again = pg.restore(tmp_path / "half", jax.eval_shape(init))
    for one, other in zip(plain(train(again)), plain(train(half)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_nothing_is_overwritten(saved):
    with pytest.raises(FileExistsError, match=r"exists already.*pass replace=True"):
        pg.save(saved, STATE)


def value_at(path):
    return float(pg.restore(path, {"x": np.zeros(())})["x"])


def save_value(path, value, **options):
    pg.save(path, {"x": np.float64(value)}, **options)


def test_a_checkpoint_is_replaced_on_request(tmp_path):
    path = tmp_path / "best"
    for value in (1.0, 2.0, 3.0):
        save_value(path, value, replace=True)
        assert value_at(path) == value
        assert [x.name for x in tmp_path.iterdir()] == ["best"]
    with pytest.raises(ValueError, match="nothing to save"):
        pg.save(path, {}, replace=True)
    assert value_at(path) == 3.0


def test_what_a_link_points_to_is_replaced(tmp_path):
    save_value(tmp_path / "real", 1.0)
    (tmp_path / "link").symlink_to("real")
    save_value(tmp_path / "link", 2.0, replace=True)
    assert (tmp_path / "link").is_symlink()
    assert value_at(tmp_path / "real") == value_at(tmp_path / "link") == 2.0


def a_file(path):
    path.write_text("precious")


def a_directory(path):
    path.mkdir()
    (path / "thesis.txt").write_text("precious")


def an_empty_directory(path):
    path.mkdir()


@pytest.mark.parametrize("make", [a_file, a_directory, an_empty_directory])
def test_only_a_checkpoint_is_replaced(make, tmp_path):
    make(tmp_path / "own")
    with pytest.raises(FileExistsError, match="is no checkpoint, and is not replaced"):
        save_value(tmp_path / "own", 1.0, replace=True)
    assert (tmp_path / "own").exists()
    for text in tmp_path.rglob("*.txt"):
        assert text.read_text() == "precious"


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("call", range(5))
def test_whenever_it_dies_the_old_or_the_new_one_is_there(
    call, again, tmp_path, monkeypatch
):
    # Dies before the n-th thing that it does to the file system. What is written is
    # Orbax's business, and a rename of its own the last of that.
    path, count = tmp_path / "best", [0]
    save_value(path, 1.0)

    class Died(BaseException):
        pass

    def dying(fn):
        def act(*args, **kwargs):
            count[0] += 1
            if count[0] == call + 1:
                raise Died
            return fn(*args, **kwargs)

        return act

    with monkeypatch.context() as patch:
        patch.setattr(replacement.os, "rename", dying(replacement.os.rename))
        patch.setattr(replacement.shutil, "rmtree", dying(replacement.shutil.rmtree))
        patch.setattr(checkpoints, "_write", dying(checkpoints._write))
        try:
            save_value(path, 2.0, replace=True)
            assert value_at(path) == 2.0
        except Died:
            assert value_at(path) in (1.0, 2.0)
            with pytest.raises(FileExistsError):  # it is there to everyone
                save_value(path, 9.0)
    if again:
        save_value(path, 3.0, replace=True)
        assert value_at(path) == 3.0
        assert [x.name for x in tmp_path.iterdir()] == ["best"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": np.zeros(3, np.int64)}, r"counts is int64 of shape \(2,\) there"),
        ({"flags": np.zeros(2)}, r"flags is bool .*, expected float64 of shape \(2,\)"),
        ({"more": np.zeros(2)}, "more is missing there"),
    ],
)
def test_another_structure_is_told_by_its_leaf(saved, change, message):
    with pytest.raises(pg.CheckpointError, match=message):
        pg.restore(saved, shapes(STATE | change))


def test_a_leaf_that_is_not_wanted_is_told(saved):
    like = shapes({name: x for name, x in STATE.items() if name != "flags"})
    with pytest.raises(pg.CheckpointError, match=r"flags is bool .* expected no such"):
        pg.restore(saved, like)


def test_what_cannot_be_saved_is_told(tmp_path):
    both = {"a/b": jnp.ones(2), "a": {"b": jnp.zeros(2)}}
    with pytest.raises(ValueError, match="two leaves have the same path, a/b"):
        pg.save(tmp_path / "both", both)
    with pytest.raises(ValueError, match="nothing to save"):
        pg.save(tmp_path / "none", {"empty": jnp.zeros((0, 3))})
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="cannot write"):
        pg.save(tmp_path / "file" / "state", STATE)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_plain_numbers_come_back_as_arrays(tmp_path):
    pg.save(tmp_path / "state", {"step": 3, "rate": 0.5})
    found = pg.restore(tmp_path / "state", {"step": 0, "rate": 0.0})
    assert (int(found["step"]), float(found["rate"])) == (3, 0.5)


def test_what_is_not_there_or_newer_is_told(saved, tmp_path):
    with pytest.raises(pg.CheckpointError, match="no such directory"):
        pg.restore(tmp_path / "nowhere", shapes(STATE))
    pg.save(tmp_path / "new", STATE)
    path = tmp_path / "new" / "_CHECKPOINT_METADATA"
    metadata = json.loads(path.read_text())
    metadata["custom_metadata"]["format"] = 99
    path.write_text(json.dumps(metadata))
    with pytest.raises(pg.CheckpointError, match="has format 99, this pgjax reads 1"):
        pg.restore(tmp_path / "new", shapes(STATE))


def test_any_flipped_bit_of_the_arrays_is_seen(tmp_path):
    pg.save(tmp_path / "state", STATE)
    rng = np.random.default_rng(0)
    # What Orbax reads; its copies per process are merged into these.
    files = [*(tmp_path / "state" / "d").iterdir(), tmp_path / "state/manifest.ocdbt"]
    for file in files:
        whole = file.read_bytes()
        for _ in range(20):
            data = bytearray(whole)
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
            file.write_bytes(data)
            with pytest.raises(pg.CheckpointError, match="is damaged"):
                pg.restore(tmp_path / "state", shapes(STATE))
        file.write_bytes(whole)
    pg.restore(tmp_path / "state", shapes(STATE))


METRICS = {
    "episode_return": jnp.float32(3.0),
    "episodes": jnp.int32(2),
    "policy_loss": jnp.float32(1.0),
    "value_loss": jnp.float32(1.0),
    "gradient_norm": jnp.float32(0.0),
}


PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.zeros(3)}


@jax.jit
def first_bad(metrics, params):
    state = pg.TrainState(pg.Learner(params, ()), (), (), (), (), ())
    return pg.diverged(state, metrics)


def judge(metrics=(), params=()):
    found = int(first_bad(METRICS | dict(metrics), PARAMS | dict(params)))
    return QUANTITIES[found - 1] if found else None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named(bad):
    assert judge() is None
    assert judge({"episode_return": jnp.float32(bad)}) == "return"
    assert judge({"value_loss": jnp.float32(bad)}) == "loss"
    assert judge({"gradient_norm": jnp.float32(bad)}) == "gradient"
    assert judge(params={"w": jnp.ones((2, 3)).at[1, 2].set(bad)}) == "parameters"
    both = {"gradient_norm": jnp.float32(bad), "policy_loss": jnp.float32(bad)}
    assert judge(both) == "loss"  # which came first


def test_without_an_episode_there_is_no_return_to_look_at():
    none = {"episode_return": jnp.float32(np.nan), "episodes": jnp.int32(0)}
    assert judge(none) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_rewards_are_named_before_an_episode_has_ended(bad):
    # The loss is made of them, and would be named otherwise.
    def step(key, state, action):
        del key
        no, reward = jnp.zeros(len(action), bool), jnp.full(len(action), bad)
        return jnp.ones((len(action), 1)), state + 1, reward, no, no

    def reset(key, num):
        del key
        return jnp.ones((num, 1)), jnp.zeros(num)

    env = pg.Env("bad", reset, step, pg.Box(0.0, 1.0, (1,)), pg.Discrete(2), 100)
    rollout = pg.unroll(env, 2, 4)
    algorithm = pg.a2c(pg.actor_critic(env, (4,)), optax.sgd(0.1))
    state = pg.init_train_state(jax.random.key(0), rollout, algorithm)
    state, metrics = pg.train_step(state, rollout, algorithm)
    assert metrics["episodes"] == 0
    assert QUANTITIES[int(pg.diverged(state, metrics)) - 1] == "return"


def test_damage_is_told(tmp_path):
    like = shapes(STATE)
    pg.save(tmp_path / "hole", STATE)
    for path in (tmp_path / "hole").rglob("manifest.ocdbt"):
        path.unlink()
    with pytest.raises(pg.CheckpointError, match="hole is damaged"):
        pg.restore(tmp_path / "hole", like)
    pg.save(tmp_path / "garbage", STATE)
    (tmp_path / "garbage" / "_METADATA").write_text("no JSON")
    with pytest.raises(pg.CheckpointError, match="garbage is damaged"):
        pg.restore(tmp_path / "garbage", like)
    (tmp_path / "empty").mkdir()
    with pytest.raises(pg.CheckpointError, match="empty is damaged"):
        pg.restore(tmp_path / "empty", like)


def test_a_checkpoint_of_the_command_is_told_from_one_of_the_library(tmp_path):
    (tmp_path / "3" / "default").mkdir(parents=True)
    with pytest.raises(pg.CheckpointError, match="which --resume goes on from"):
        pg.restore(tmp_path / "3", shapes(STATE))


@pytest.mark.parametrize(
    ("raised", "told", "message"),
    [
        (pg.CheckpointError("known"), pg.CheckpointError, "^known$"),
        (FileNotFoundError(2, "no", "x.json"), pg.CheckpointError, "x.json is missing"),
        (PermissionError("not yours"), PermissionError, "not yours"),
        (KeyError("format"), pg.CheckpointError, "here is damaged: 'format'"),
    ],
)
def test_what_reading_raises_is_damage_unless_the_disk_is_at_fault(
    raised, told, message
):
    with pytest.raises(told, match=message), checkpoints.damage_told("here"):
        raise raised


def test_what_was_written_in_part_is_removed(tmp_path, monkeypatch):
    import orbax.checkpoint as ocp

    def fail(self, path, *arguments, **options):
        (path.parent / f"{path.name}.orbax-checkpoint-tmp").mkdir()
        raise RuntimeError("no space left")

    monkeypatch.setattr(ocp.StandardCheckpointer, "save", fail)
    with pytest.raises(OSError, match=r"cannot write .*state: no space left"):
        pg.save(tmp_path / "state", STATE)
    assert list(tmp_path.iterdir()) == []
