"""Environments whose observations are trees, through the commands."""

import jax
import numpy as np
import pytest
import trees

from pgjax.app.cli import main
from pgjax.app.play import evaluate_run

SMALL = ["--num-envs", "2", "--num-steps", "8", "--hidden", "4", "--seeds", "2"]
SMALL += ["--eval-episodes", "3", "--updates-per-chunk", "2", "--quiet"]
SMALL += ["--no-anneal-learning-rate", "--normalize-observations"]
ENV = ["--env", "trees:world", "--env-arg", "kind=nested"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One that went on from its checkpoint."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", "ppo", *ENV, *SMALL, "--steps", "64", "--out", str(out)]) == 0
    assert main(["train", "--resume", str(out), "--steps", "128", "--quiet"]) == 0
    return out


def test_a_resumed_run_is_one_that_was_not_stopped(run, tmp_path):
    out = tmp_path / "at-once"
    assert (
        main(["train", "ppo", *ENV, *SMALL, "--steps", "128", "--out", str(out)]) == 0
    )
    ours, theirs = (jax.tree.leaves(evaluate_run.load(x)[0].params) for x in (run, out))
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(x, y)
    with np.load(run / "params.npz") as arrays:
        assert any("moments/a/mean" in name for name in arrays)
        assert not any("moments/rest" in name for name in arrays)


def test_it_is_evaluated_and_checked(run, capsys):
    assert main(["evaluate", str(run), "--episodes", "3"]) == 0
    assert "greedy" in capsys.readouterr().out
    assert main(["check-env", "trees:world", "--env-arg", "kind=nested"]) == 0
    told = capsys.readouterr().out.replace("\n", " ")
    assert "observations ['a'] (2,), ['rest'][0] (2, 2, 1)," in told
    assert "['rest'][1].d 3 choices" in told


def test_an_exported_policy_takes_the_tree(run, capsys):
    assert main(["export", str(run)]) == 0
    example = capsys.readouterr().out.split("\n\n")[1]
    assert "'rest': (np.zeros((8, 2, 2, 1), np.uint8), {'c': np.zeros((8, )" in example
    namespace: dict = {}
    exec("\n".join(line[4:] for line in example.splitlines()), namespace)
    group, _, params = evaluate_run.choose(evaluate_run.load(run), None, {})
    obs, _ = trees.world("nested").reset(jax.random.key(1), 33)
    image, last = obs["rest"]
    plain = {"a": obs["a"], "rest": (image, last._asdict())}
    expected = group.experiment.algorithm.policy(params, obs).mode()
    found = namespace["policy"].call(plain)
    np.testing.assert_array_equal(found, expected)


def test_a_step_that_drifts_is_told_in_a_line(capsys, tmp_path, monkeypatch):
    def drifting():
        env = trees.world("dict")

        def step(key, place, action):
            obs, *rest = env.step(key, place, action)
            return {**obs, "b": obs["b"] / 255}, *rest

        return env._replace(step=step)

    monkeypatch.setattr(trees, "drifting", drifting, raising=False)
    command = ["train", "ppo", "--env", "trees:drifting", *SMALL, "--steps", "64"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "obs['b'] was uint8" in line
