"""What a type checker, and a reader of a space, sees."""

import pathlib
import subprocess
import sys

import pytest

import pgjax as pg

ROOT = pathlib.Path(__file__).parent.parent
USER = """
import jax
import optax
import pgjax as pg

env = pg.make_env("CartPole-v1")
number: int = env.action_space.n
shape: tuple[int, ...] = env.action_space.shape
low = env.observation_space.low
algorithm: pg.Algorithm = pg.ppo(pg.actor_critic(env), optax.adam(1e-3))
state, metrics = pg.train(
    jax.random.key(0), pg.unroll(env, 2, 4), algorithm, num_updates=1
)
loss: jax.Array = metrics["value_loss"]

pg.nonexistent  # type: ignore[attr-defined]
pg.reinforced(1)  # type: ignore[attr-defined]
pg.make_envs("CartPole-v1")  # type: ignore[attr-defined]
env.action_space.size  # type: ignore[union-attr]
wrong: str = pg.train_steps(  # type: ignore[assignment]
    state, pg.unroll(env, 2, 4), algorithm, num_updates=1
)
"""


def test_a_users_file_is_checked(tmp_path):
    # An `ignore` that nothing needs is an error: each line above that has one is wrong.
    file = tmp_path / "user.py"
    file.write_text(USER)
    options = ["--warn-unused-ignores", "--follow-imports=silent", "--config-file="]
    options += ["--ignore-missing-imports", f"--cache-dir={ROOT / '.mypy_cache'}"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(file)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("space", "name", "says"),
    [
        (pg.Box(0.0, 1.0, (3,)), "n", r"a Box has no n.*its shape is \(3,\)"),
        (pg.Discrete(2), "low", "a Discrete space has no low, only n"),
        (pg.Discrete(2), "high", "a Discrete space has no high, only n"),
    ],
)
def test_what_a_space_does_not_have_is_told(space, name, says):
    assert not hasattr(space, name)
    with pytest.raises(AttributeError, match=says):
        getattr(space, name)
