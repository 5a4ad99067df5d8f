import os
import subprocess
import sys
import warnings

import jax
import jaxlib
import pytest
from jax._src import xla_bridge

from pgjax._internal import xla

AFFECTED = jaxlib.version.__version_info__ >= xla.FIRST_AFFECTED
affected = pytest.mark.skipif(not AFFECTED, reason="this jaxlib needs no guard")

# A Fisher-vector product of two agents. The tangent of ones is a constant, the same for
# both: with the broken fusions the result is garbage of any size, or NaN.
CANARY = """
import os
import pgjax
import jax
import jax.numpy as jnp
import numpy as np

def loss(params, x):
    return jnp.mean(jax.nn.log_softmax(jnp.tanh(x @ params["w1"]) @ params["w2"]) ** 2)

def product(params, x):
    ones = jax.tree.map(jnp.ones_like, params)
    return jax.jvp(jax.grad(lambda params: loss(params, x)), (params,), (ones,))[1]

rng = np.random.default_rng(0)
shapes = {"w1": (2, 4, 64), "w2": (2, 64, 2)}
params = {k: rng.normal(size=s).astype("f") / 4 for k, s in shapes.items()}
x = rng.normal(size=(2, 2048, 4)).astype("f")
together, alone = jax.jit(jax.vmap(product)), jax.jit(product)
want = [alone(jax.tree.map(lambda p: p[i], params), x[i]) for i in range(2)]
for _ in range(20):
    got = together(params, x)
    for i in range(2):
        for name in shapes:
            close = dict(rtol=1e-4, atol=1e-5 * np.abs(want[i][name]).max())
            np.testing.assert_allclose(got[name][i], want[i][name], **close)
print(os.environ.get("XLA_FLAGS", ""))
"""

STARTED = """
import warnings
import jax
jax.numpy.ones(2)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import pgjax
for warning in caught:
    if "pgjax" in str(warning.message):
        print(warning.category.__name__, warning.filename, warning.message)
"""


def run(code, flags=None):
    """What a fresh interpreter prints; it compiles anew, and on a CPU."""
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    env |= {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    if flags is not None:
        env["XLA_FLAGS"] = flags
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_batched_fisher_vector_products_are_right_once_pgjax_is_imported():
    flags = run(CANARY)
    assert flags == (f"--{xla.FLAG}=" if AFFECTED else "")


@affected
def test_an_import_after_jax_has_started_warns():
    kind, where, message = run(STARTED).split(maxsplit=2)
    assert (kind, where) == ("RuntimeWarning", "<string>")  # the user's own line
    assert "before the first computation" in message
    assert f"XLA_FLAGS=--{xla.FLAG}=" in message


@pytest.fixture
def guard(monkeypatch):
    """The guard as if with these flags, in this state, on this jaxlib."""

    def call(flags, *, started=False, version=xla.FIRST_AFFECTED):
        monkeypatch.setattr(jaxlib.version, "__version_info__", version)
        monkeypatch.setattr(xla_bridge, "backends_are_initialized", lambda: started)
        if flags is None:
            monkeypatch.delenv("XLA_FLAGS", raising=False)
        else:
            monkeypatch.setenv("XLA_FLAGS", flags)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            xla.turn_off_broken_fusions()
        return os.environ.get("XLA_FLAGS"), [str(x.message) for x in caught]

    return call


OTHER = "--xla_cpu_enable_fast_math=false"


@pytest.mark.parametrize(
    ("flags", "want"),
    [
        (None, f"--{xla.FLAG}="),
        ("", f"--{xla.FLAG}="),
        (OTHER, f"{OTHER} --{xla.FLAG}="),
    ],
)
def test_the_flag_is_added_to_the_user_s(guard, flags, want):
    assert guard(flags) == (want, [])


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize(
    "flags", [f"--{xla.FLAG}=", f"--{xla.FLAG}=dot {OTHER}", f"{OTHER} --{xla.FLAG}=x"]
)
def test_the_user_s_own_setting_is_kept(guard, flags, started):
    assert guard(flags, started=started) == (flags, [])


def test_a_guard_that_comes_too_late_says_so(guard):
    flags, messages = guard(OTHER, started=True)
    assert flags == f"{OTHER} --{xla.FLAG}="  # for the processes to come
    assert len(messages) == 1
    assert "JAX has started already" in messages[0]


@pytest.mark.parametrize("version", [(0, 9, 2), (0, 10, 1)])
@pytest.mark.parametrize("flags", [None, "", OTHER])
@pytest.mark.parametrize("started", [False, True])
def test_earlier_versions_are_left_alone(guard, version, flags, started):
    assert guard(flags, started=started, version=version) == (flags, [])


@pytest.mark.parametrize("version", [(0, 10, 3), (0, 11, 2), (0, 12, 0)])
def test_later_versions_are_guarded_too(guard, version):
    assert guard(None, version=version) == (f"--{xla.FLAG}=", [])


def test_on_cpu_says_what_jax_computes_on():
    assert xla.on_cpu() == all(device.platform == "cpu" for device in jax.devices())


def test_a_jax_that_keeps_its_backends_elsewhere_is_no_error(monkeypatch):
    assert xla._runs_on_cpu() == (xla_bridge.default_backend() == "cpu")
    monkeypatch.delattr(xla_bridge, "backends_are_initialized")
    assert not xla._runs_on_cpu()
