import functools
import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import pgjax as pg
from pgjax.networks.products import product
from pgjax.trust_region import backtrack_to_kl, scale_by_inverse_fisher, scale_to_kl

rng = np.random.default_rng(0)
OBS = rng.normal(size=(7, 3)).astype(np.float32)
DAMPING = 0.1


def softmax_policy(params, obs):
    """Two layers, 3 -> 4 tanh -> 3 actions."""
    return pg.Categorical(
        product(jnp.tanh(product(obs, params["first"])), params["last"])
    )


def gaussian_policy(params, obs):
    """Two actions, means linear in the observation."""
    mean = product(obs, params["weights"])
    return pg.DiagGaussian(mean, jnp.broadcast_to(params["log_std"], mean.shape))


SOFTMAX = {"first": rng.normal(size=(3, 4)), "last": rng.normal(size=(4, 3))}
GAUSSIAN = {"weights": rng.normal(size=(3, 2)), "log_std": np.array([[-0.5, 0.3]])}
POLICIES = {
    "softmax": (softmax_policy, jax.tree.map(np.float32, SOFTMAX)),
    "gaussian": (gaussian_policy, jax.tree.map(np.float32, GAUSSIAN)),
}


def mean_kl(policy, old, params):
    return jnp.mean(policy(old, OBS).kl(policy(params, OBS)))


def softmax_fisher():
    """E[grad log pi grad log pi^T], the expectation by enumeration."""
    first, last = SOFTMAX["first"], SOFTMAX["last"]
    total = np.zeros((24, 24))
    for obs in np.float64(OBS):
        hidden = np.tanh(obs @ first)
        weights = np.exp(hidden @ last)
        probs = weights / weights.sum()
        for action in range(3):
            to_logits = np.eye(3)[action] - probs
            to_first = np.outer(obs, (last @ to_logits) * (1 - hidden**2))
            grad = [to_first.ravel(), np.outer(hidden, to_logits).ravel()]
            grad = np.concatenate(grad)
            total += probs[action] * np.outer(grad, grad) / len(OBS)
    return total


def gaussian_fisher():
    """2 for each log-std, obs obs^T / variance for each mean, nothing between them."""
    second_moment = np.float64(OBS).T @ OBS / len(OBS)
    precision = np.diag(np.exp(-2 * GAUSSIAN["log_std"][0]))
    total = np.zeros((8, 8))
    total[:2, :2] = 2 * np.eye(2)  # in the order of names, log_std is first
    total[2:, 2:] = np.kron(second_moment, precision)
    return total


FISHERS = {"softmax": softmax_fisher, "gaussian": gaussian_fisher}
each_policy = pytest.mark.parametrize("name", POLICIES)


def vector_like(params, seed=0):
    flat, unravel = ravel_pytree(params)
    vector = np.random.default_rng(seed).normal(size=flat.shape).astype(np.float32)
    return vector, unravel(vector)


def assert_close(got, want, tolerance):
    got, _ = ravel_pytree(got)
    assert np.linalg.norm(got - want) < tolerance * np.linalg.norm(want), (got, want)


@functools.cache
def compiled_product(name):
    policy, params = POLICIES[name]
    kl_fn = functools.partial(mean_kl, policy, params)

    def product(vector, damping):
        return pg.fisher_vector_product(kl_fn, params, vector, damping=damping)

    return jax.jit(product), jax.jit(jax.vmap(product, (0, None)))


@each_policy
@pytest.mark.parametrize("damping", [0.0, 0.5])
def test_fisher_vector_product_is_that_of_the_fisher_matrix(name, damping):
    product, _ = compiled_product(name)
    _, params = POLICIES[name]
    fisher = FISHERS[name]()
    for seed in range(3):
        flat, vector = vector_like(params, seed)
        want = (fisher + damping * np.eye(len(fisher))) @ flat
        assert_close(product(vector, damping), want, 1e-5)


@each_policy
def test_fisher_vector_product_is_that_of_the_hessian(name):
    policy, params = POLICIES[name]
    start, unravel = ravel_pytree(params)
    hessian = jax.jit(jax.hessian(lambda x: mean_kl(policy, params, unravel(x))))
    product, _ = compiled_product(name)
    flat, vector = vector_like(params)
    want = np.float64(hessian(start)) @ flat
    assert_close(product(vector, 0.0), want, 1e-5)


@each_policy
def test_products_under_vmap_are_those_alone(name):
    product, products = compiled_product(name)
    _, params = POLICIES[name]
    vectors = [vector_like(params, seed)[1] for seed in range(3)]
    together = products(jax.tree.map(lambda *x: np.stack(x), *vectors), 0.1)
    for i, vector in enumerate(vectors):
        want, _ = ravel_pytree(product(vector, 0.1))
        assert_close(jax.tree.map(lambda x, i=i: x[i], together), want, 1e-6)


@functools.cache
def compiled_step(name, make, **options):
    """(grads, max_kl) -> step of a transformation on one of the policies."""
    policy, params = POLICIES[name]
    kl_fn = functools.partial(mean_kl, policy, params)

    def loss_fn(grads, new):
        change = jax.tree.map(jnp.subtract, new, params)
        return optax.tree.vdot(grads, change)  # the loss whose gradient is `grads`

    def step(grads, *args):
        transformation = make(*args, **options)
        updates, _ = transformation.update(
            grads,
            transformation.init(params),
            params,
            kl_fn=kl_fn,
            loss_fn=functools.partial(loss_fn, grads),
        )
        return updates

    return jax.jit(step), jax.jit(jax.vmap(step))


@each_policy
def test_natural_gradients_solve_the_damped_system(name):
    # More iterations than parameters: exact, but for rounding.
    step, _ = compiled_step(
        name, scale_by_inverse_fisher, iterations=40, damping=DAMPING
    )
    _, params = POLICIES[name]
    flat, grads = vector_like(params)
    fisher = FISHERS[name]()
    damped = fisher + DAMPING * np.eye(len(fisher))
    # float32 times a condition number below 100.
    assert np.linalg.cond(damped) < 100
    assert_close(step(grads), np.linalg.solve(damped, flat), 1e-4)


def test_conjugate_gradients_stay_finite_long_after_they_have_converged():
    _, params = POLICIES["gaussian"]
    step, _ = compiled_step(
        "gaussian",
        scale_by_inverse_fisher,
        iterations=200,
        damping=DAMPING,
    )
    flat, _ = vector_like(params)
    _, unravel = ravel_pytree(params)
    damped = gaussian_fisher() + DAMPING * np.eye(8)
    for size in (1e-12, 1e-6, 1.0, 1e6):
        got = step(unravel(np.float32(size) * flat))
        assert_close(got, size * np.linalg.solve(damped, flat), 1e-4)


@each_policy
def test_steps_have_the_length_that_the_bound_allows(name):
    step, _ = compiled_step(name, scale_to_kl, damping=DAMPING)
    _, params = POLICIES[name]
    flat, direction = vector_like(params)
    fisher = FISHERS[name]()
    damped = fisher + DAMPING * np.eye(len(fisher))
    for max_kl in (1e-3, 0.5):
        want = -np.sqrt(2 * max_kl / (flat @ damped @ flat)) * flat
        got = step(direction, max_kl)
        assert_close(got, want, 1e-5)
        # Whatever the direction's own length.
        longer = jax.tree.map(lambda x: 10 * x, direction)
        assert_close(step(longer, max_kl), want, 1e-5)


def quadratic(params):
    """A KL divergence, 0 at params = 0."""
    return 0.5 * jnp.sum(jnp.square(params))


@functools.cache
def compiled_backtracking(max_backtracks):
    def backtrack(step, max_kl, lowest):
        transformation = backtrack_to_kl(
            max_kl, max_backtracks=max_backtracks, decay=0.5
        )
        params = jnp.zeros(2)

        def loss_fn(params):  # falls up to `lowest`, then rises
            return jnp.sum(jnp.square(params - lowest))

        state = transformation.init(params)
        updates, _ = transformation.update(
            step, state, params, kl_fn=quadratic, loss_fn=loss_fn
        )
        return updates

    return jax.jit(backtrack), jax.jit(jax.vmap(backtrack))


STEP = np.array([2.0, 0.0], np.float32)  # its KL is 2 scale^2
FAR, NEAR = np.array([9.0, 0.0]), np.array([0.4, 0.0])
BACKTRACKS = {
    "the full step is fine": (STEP, 2.5, FAR, 1.0),
    "KL is too large at first": (STEP, 0.2, FAR, 0.25),
    "the loss is higher at first": (STEP, 1e9, NEAR, 0.25),
    "the shortest step that is tried": (STEP, 2 * 0.125**2, FAR, 0.125),
    "none is short enough": (STEP, 1.9 * 0.125**2, FAR, 0.0),
    "uphill": (STEP, 1e9, -FAR, 0.0),
    "not a number": (np.full(2, np.nan), 1e9, FAR, 0.0),
    "infinite": (np.full(2, np.inf), 1e9, FAR, 0.0),
    "partly not a number": (np.array([np.nan, 1.0]), 1e9, FAR, 0.0),
}


@pytest.mark.parametrize("case", BACKTRACKS.values(), ids=BACKTRACKS)
def test_backtracking_takes_the_longest_acceptable_step_or_none(case):
    step, max_kl, lowest, scale = jax.tree.map(np.float32, case)
    backtrack, _ = compiled_backtracking(3)
    want = scale * step if scale > 0 else np.zeros(2)
    np.testing.assert_array_equal(backtrack(step, max_kl, lowest), want)


def test_backtracking_under_vmap_is_that_alone():
    cases = jax.tree.map(np.float32, list(BACKTRACKS.values()))
    steps, max_kls, lowest, scales = (np.stack(x) for x in zip(*cases, strict=True))
    backtrack, together = compiled_backtracking(3)
    assert len(set(scales)) > 3  # agents stop at different lengths
    want = [backtrack(*case[:3]) for case in cases]
    np.testing.assert_array_equal(together(steps, max_kls, lowest), np.stack(want))


def kl_after(policy, params, updates):
    return mean_kl(policy, params, optax.apply_updates(params, updates))


@each_policy
def test_trust_region_keeps_its_bound_in_the_best_direction(name):
    step, steps = compiled_step(name, pg.trust_region, cg_iterations=40)
    policy, params = POLICIES[name]
    flat, grads = vector_like(params)
    fisher = FISHERS[name]()
    direction = -np.linalg.solve(fisher + DAMPING * np.eye(len(fisher)), flat)
    max_kls = np.array([1e-3, 0.05, 2.0], np.float32)
    alone, shortened = [], []
    for max_kl in max_kls:
        alone.append(step(grads, max_kl))
        assert kl_after(policy, params, alone[-1]) <= max_kl
        updates, _ = ravel_pytree(alone[-1])
        # The loss is linear here, so nothing but the bound shortens the step.
        full = np.sqrt(2 * max_kl / (direction @ -flat)) * direction
        scale = np.linalg.norm(updates) / np.linalg.norm(full)
        backtracks = round(np.log(scale) / np.log(0.8))
        assert_close(alone[-1], 0.8**backtracks * full, 1e-4)
        if backtracks > 0:
            longer = jax.tree.map(lambda x: x / 0.8, alone[-1])
            assert kl_after(policy, params, longer) > max_kl
        shortened.append(backtracks)
    assert 0 in shortened
    copies = jax.tree.map(lambda x: np.stack([x] * 3), grads)
    together = steps(copies, max_kls)
    for i, want in enumerate(alone):
        want, _ = ravel_pytree(want)
        assert_close(jax.tree.map(lambda x, i=i: x[i], together), want, 1e-4)


@each_policy
@pytest.mark.parametrize("max_backtracks", [0, 10])
def test_a_zero_gradient_is_no_step(name, max_backtracks):
    _, params = POLICIES[name]
    options = {"cg_iterations": 40} if max_backtracks else {"max_backtracks": 0}
    step, _ = compiled_step(name, pg.trust_region, **options)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates = step(zeros, np.float32(0.01))
    chex.assert_trees_all_equal(updates, zeros)


def steep(params):
    """A KL divergence that rises faster than its Hessian at 0 says.

    Of a step of 1 it says 0.5; it is 5.5, then 0.44 for half the step.
    """
    return quadratic(params) + 5.0 * jnp.sum(params**4)


@pytest.mark.parametrize(
    ("max_kl", "max_backtracks", "scale"),
    [(0.5, 0, 1.0), (0.5, 1, 0.5), (2.0, 1, 0.0), (2.0, 2, 0.25), (2.0, 10, 0.25)],
)
def test_as_many_backtracks_as_are_allowed(max_kl, max_backtracks, scale):
    transformation = pg.trust_region(
        max_kl, damping=1e-9, max_backtracks=max_backtracks, decay=0.5
    )
    params = jnp.zeros(1)
    updates, _ = transformation.update(
        jnp.ones(1),
        transformation.init(params),
        params,
        kl_fn=steep,
        loss_fn=jnp.sum,
    )
    full = np.sqrt(2 * max_kl)
    np.testing.assert_allclose(updates, [-scale * full], rtol=1e-5)


def test_defaults_do_not_change_by_accident():
    def defaults(fn):
        parameters = inspect.signature(fn).parameters.values()
        return {x.name: x.default for x in parameters if x.default is not x.empty}

    steps = {"cg_iterations": 10, "damping": 0.1, "max_backtracks": 10, "decay": 0.8}
    assert defaults(pg.trust_region) == {"max_kl": 0.01} | steps
    inverse = scale_by_inverse_fisher
    assert defaults(inverse) == {"iterations": 10, "damping": 0.1}
    assert defaults(scale_to_kl) == {"damping": 0.1}
    backtrack = backtrack_to_kl
    assert defaults(backtrack) == {"max_backtracks": 10, "decay": 0.8}
    expected = {"damping": 0.0, "axis_name": None}
    assert defaults(pg.fisher_vector_product) == expected
