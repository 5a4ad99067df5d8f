"""Programs for every platform, without its hardware; a policy without pgjax."""

import subprocess
import sys

import jax
import numpy as np
import optax
import pytest
from turns import in_turns

import pgjax as pg
from pgjax.app.cli import main
from pgjax.app.play import evaluate_run
from pgjax.app.play.export import PLATFORMS, serialize

ALGORITHMS = {
    "reinforce": lambda env: pg.reinforce(pg.mlp_policy(env), optax.adam(0.01)),
    "a2c": lambda env: pg.a2c(pg.actor_critic(env), optax.adam(0.01)),
    "ppo": lambda env: pg.ppo(pg.actor_critic(env), optax.adam(0.01)),
    "trpo": lambda env: pg.trpo(pg.actor_critic(env), optax.adam(0.01)),
}


@pytest.mark.parametrize(
    ("name", "env"), in_turns(ALGORITHMS, ["CartPole-v1", "Pendulum-v1"])
)
def test_a_train_step_lowers_for_every_platform(name, env):
    env = pg.make_env(env)
    algorithm = ALGORITHMS[name](env)
    whole = algorithm.complete_episodes
    rollout = pg.episodes(env, 4) if whole else pg.unroll(env, 4, 8)
    state = jax.eval_shape(
        lambda: pg.init_train_state(jax.random.key(0), rollout, algorithm)
    )
    step = jax.jit(lambda state: pg.train_step(state, rollout, algorithm))
    exported = jax.export.export(step, platforms=PLATFORMS)(state)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert exported.out_tree.num_leaves > exported.in_tree.num_leaves  # the metrics


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    sizes = ["--seeds", "2", "--seed", "5", "--num-envs", "4", "--hidden", "8"]
    arguments = [*sizes, "--steps", "200", "--eval-episodes", "2", "--quiet"]
    assert main(["train", *arguments, "--out", str(out)]) == 0
    return out


def test_an_exported_policy_runs_without_pgjax(run, tmp_path, capsys):
    assert main(["export", str(run), "--agent", "6"]) == 0
    told = capsys.readouterr().out
    assert "policy-seed6.jax: " in told
    example = "\n".join(line[4:] for line in told.splitlines()[2:])
    example += """
import sys
assert not any(name.split(".")[0] == "pgjax" for name in sys.modules)
np.save("actions.npy", policy.call(np.load("obs.npy")))
"""
    obs = np.random.default_rng(0).normal(size=(33, 4)).astype(np.float32)
    np.save(run / "obs.npy", obs)
    process = subprocess.run(
        [sys.executable, "-c", example], cwd=run, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    assert len(process.stdout.strip("[]\n").split()) == 8  # what the example prints
    group, _, own = evaluate_run.choose(evaluate_run.load(run), 6, {})
    expected = group.experiment.algorithm.policy(own, obs).mode()
    np.testing.assert_array_equal(np.load(run / "actions.npy"), expected)


def test_a_sampled_policy_draws_with_its_probabilities(run):
    group, seed, own = evaluate_run.choose(evaluate_run.load(run), None, {})
    assert seed == group.agents.seeds[0]
    experiment = group.experiment
    policy = jax.export.deserialize(bytearray(serialize(experiment, own, sampled=True)))
    obs = np.tile(np.float32([0.02, 0.5, -0.03, 0.4]), (20_000, 1))
    one, same, other = (policy.call(np.uint32(seed), obs) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    p = float(experiment.algorithm.policy(own, obs[:1]).probs[0, 1])
    error = np.sqrt(p * (1 - p) / 40_000)
    assert abs(np.concatenate([one, other]).mean() - p) < 5 * error


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--agent", "9"], "the run has no seed 9; it has 5 to 6"),
        (["--out", "no/such/policy.jax"], "which is no directory"),
    ],
)
def test_bad_input(run, arguments, says, capsys):
    assert main(["export", str(run), *arguments]) == 2
    assert says in capsys.readouterr().err
