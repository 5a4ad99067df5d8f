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

ROOT = pathlib.Path(__file__).parent.parent
PAGES = {
    name: (ROOT / name).read_text()
    for name in (
        "README.md",
        "pgjax/algorithms/README.md",
        "pgjax/envs/README.md",
        "pgjax/app/README.md",
        "pgjax/bench/README.md",
        "experiments/README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    )
}
README, ALGORITHMS = PAGES["README.md"], PAGES["pgjax/algorithms/README.md"]
COMMANDS = {
    line
    for page in PAGES.values()
    for block in re.findall(r"```bash\n(.*?)```", page, re.S)
    for line in block.splitlines()
    if line.startswith("pgjax ")
}


def test_the_readme_is_short():
    lines = README.splitlines()
    assert len(lines) <= 250
    assert max(map(len, lines)) <= 120


def test_every_python_block_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}  # later pages go on from the first
    for name, page in PAGES.items():
        for block in re.findall(r"```python\n(.*?)```", page, re.S):
            exec(compile(block, name, "exec"), namespace)
    assert namespace["curves"].shape == (2, 4, 60)
    assert namespace["reward"] > 0.95  # the sequence model counts
    # The ten-line example learns.
    assert namespace["curves"][1].mean(0)[-1] > 4 * namespace["curves"][1].mean(0)[0]


def test_its_lines_make_a_file_of_the_folder():
    _, algorithm, _, lines, *_ = re.findall(r"```python\n(.*?)```", ALGORITHMS, re.S)
    assert "import sum_over_samples" in lines
    source = algorithm.partition("\n\n\n")[0].replace("pg.", "")
    namespace: dict = {}
    exec(lines + source, namespace)
    annealed = pg.anneal(optax.sgd(0.1), env_steps=100)
    made = namespace["self_imitation"](probes.linear_network(), annealed)
    batch = batches.episodes()
    learner = made.init(jax.random.key(0), batch.obs[0])
    learner, _ = made.update(jax.random.key(0), learner, batch)
    assert learner.opt_state.num_samples.low == batches.LENGTHS.sum()


def test_its_algorithm_learns_the_same_on_two_devices():
    (source,) = re.findall(r"(def self_imitation.*?)\n\n\n", ALGORITHMS, re.S)
    namespace = {"pg": pg, "jax": jax, "jnp": jnp, "optax": optax}
    exec(source, namespace)
    network = probes.linear_network()
    algorithm = namespace["self_imitation"](network, optax.sgd(1.0))
    batch = batches.episodes()
    # Of the first device one episode is better than the average, of the second both,
    # though one of them is worse than that device's own average.
    returns = jnp.array([[3.0, -9.0, 9.0, 5.0]])
    batch = batch._replace(reward=jnp.zeros_like(batch.reward).at[:1].set(returns))
    learner = algorithm.init(jax.random.key(0), batch.obs[0])
    update = partial(algorithm.update, jax.random.key(0), learner)
    expected, metrics = jax.jit(update)(batch)
    halves = jax.tree.map(lambda x: x.reshape(len(x), 2, -1, *x.shape[2:]), batch)
    on_two = jax.vmap(partial(update, axis_name="env"), in_axes=1, axis_name="env")
    learners, split_metrics = jax.jit(on_two)(halves)
    np.testing.assert_allclose(split_metrics["loss"], [metrics["loss"]] * 2, rtol=1e-5)
    for name, x in expected.params.items():
        assert np.abs(x - learner.params[name]).max() > 0.01
        np.testing.assert_allclose(learners.params[name], [x, x], atol=1e-5)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_parses(command):
    from pgjax.app.command_line import read

    words = shlex.split(command, comments=True)[1:]
    words = [word for word in words if word != "--help"]  # it would exit
    assert read(words)[0] == words[0]


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name):
    page, folder = PAGES[name], (ROOT / name).parent
    for target in re.findall(r'src="([^"]+)"|\]\(([^)\s]+)\)', page):
        path, _, anchor = "".join(target).partition("#")
        found = folder / path if path else ROOT / name
        assert found.exists(), path
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text(), re.M)
            anchors = [re.sub(r"[^\w\- ]", "", x.lower()) for x in headings]
            assert anchor in [x.replace(" ", "-") for x in anchors]
