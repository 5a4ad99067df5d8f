"""What the README says works, works."""

import pathlib
import re
import shlex
from functools import partial

import batches
import jax
import jax.numpy as jnp
import numpy as np
import optax
import probes
import pytest

import pgjax as pg

README = (pathlib.Path(__file__).parent.parent / "README.md").read_text()


def test_every_python_block_runs():
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(blocks) >= 5
    namespace: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    assert namespace["curves"].shape == (2, 4, 60)
    assert namespace["reward"] > 0.95  # the sequence model counts
    # The ten-line example learns.
    assert namespace["curves"][1].mean(0)[-1] > 4 * namespace["curves"][1].mean(0)[0]


def test_its_algorithm_learns_the_same_on_two_devices():
    (source,) = re.findall(r"(def self_imitation.*?)\n\n\n", README, re.S)
    namespace = {"pg": pg, "jax": jax, "jnp": jnp, "optax": optax}
    exec(source, namespace)
    network = probes.linear_network()
    algorithm = namespace["self_imitation"](network, optax.adam(0.1))
    batch = batches.episodes()
    learner = algorithm.init(jax.random.key(0), batch.obs[0])
    update = partial(algorithm.update, jax.random.key(0), learner)
    expected, _ = jax.jit(update)(batch)
    halves = jax.tree.map(lambda x: x.reshape(len(x), 2, -1, *x.shape[2:]), batch)
    on_two = jax.vmap(partial(update, axis_name="env"), in_axes=1, axis_name="env")
    learners, _ = jax.jit(on_two)(halves)
    for name, x in expected.params.items():
        assert np.abs(x - learner.params[name]).max() > 0.01
        np.testing.assert_allclose(learners.params[name], [x, x], atol=1e-5)


@pytest.mark.parametrize(
    "command", sorted(set(re.findall(r"^pgjax .*$", README, re.M)))
)
def test_every_command_parses(command):
    from pgjax.arguments import make_parser

    words = shlex.split(command, comments=True)[1:]
    words = [word for word in words if word != "--help"]  # it would exit
    assert vars(make_parser(words).parse_args(words))["command"] == words[0]


def test_every_picture_exists():
    root = pathlib.Path(__file__).parent.parent
    pictures = re.findall(r'src="([^"]+)"|!\[[^\]]*\]\(([^)]+)\)', README)
    assert pictures
    for names in pictures:
        assert (root / (names[0] or names[1])).is_file()
