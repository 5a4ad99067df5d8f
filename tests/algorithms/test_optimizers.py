"""Every Optax transformation that needs the gradient, the parameters and the loss."""

import re
from functools import partial

import batches
import jax
import jax.numpy as jnp
import numpy as np
import optax
import probes
import pytest
from optax import contrib

import pgjax as pg
from pgjax._internal import collectives

KEY = jax.random.key(0)
ENV = pg.make_env("Countdown-probe")
NETWORK = probes.linear_network(critic=True)
ADAM = optax.adam(1e-3)
PLATEAU = contrib.reduce_on_plateau(patience=1)


def labels(params):
    return jax.tree.map(lambda x: "first" if x.ndim == 1 else "second", params)


SERVED = {
    "plateau": optax.chain(ADAM, PLATEAU),
    "plateau, flattened": optax.flatten(optax.chain(ADAM, PLATEAU)),
    "plateau, masked": optax.masked(optax.chain(ADAM, PLATEAU), lambda p: True),
    "plateau, by parts": optax.partition(
        {"first": optax.chain(ADAM, PLATEAU), "second": optax.sgd(0.1)}, labels
    ),
    "plateau, every second step": optax.MultiSteps(
        optax.chain(ADAM, PLATEAU), 2
    ).gradient_transformation(),
    "plateau, if finite": optax.apply_if_finite(optax.chain(ADAM, PLATEAU), 3),
    "plateau, every second step, annealed": pg.anneal(
        optax.MultiSteps(optax.chain(ADAM, PLATEAU), 2).gradient_transformation(),
        env_steps=100,
    ),
    "polyak_sgd": optax.polyak_sgd(),
    "momo": contrib.momo(),
    "momo_adam": contrib.momo_adam(),
    "prodigy": contrib.prodigy(),
    "dadapt_adamw": contrib.dadapt_adamw(),
    "schedule_free": contrib.schedule_free_adamw(1e-3),
    "mechanize": contrib.mechanize(ADAM),
    "cocob": contrib.cocob(),
    "dog": contrib.dog(),
    "sam": contrib.sam(ADAM, optax.sgd(0.1)),
    "adamw": optax.adamw(1e-3),
    "noise": optax.chain(optax.add_noise(0.1, 0.5, 0), optax.sgd(0.1)),
    "injected": optax.inject_hyperparams(optax.adam)(
        learning_rate=optax.linear_schedule(0.1, 0.0, 9)
    ),
    "lbfgs without a search": optax.lbfgs(0.1, linesearch=None),
}
REFUSED = {
    "lbfgs": (optax.lbfgs(), "value_fn"),
    "backtracking": (
        optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(5)),
        "value_fn",
    ),
    "zoom": (optax.scale_by_zoom_linesearch(5), "value_fn"),
    "sophia": (contrib.sophia(1e-3), "obj_fn"),
    "lookahead": (optax.lookahead(ADAM, 2, 0.5), ""),
    "trust region": (pg.trust_region(), "kl_fn"),
}
SMALL = {"num_epochs": 2, "num_minibatches": 2}
MAKERS = {
    "reinforce": lambda opt: pg.reinforce(NETWORK, opt),
    "a2c": lambda opt: pg.a2c(NETWORK, opt),
    "ppo": lambda opt: pg.ppo(NETWORK, opt, target_kl=0.1, **SMALL),
    "trpo": lambda opt: pg.trpo(NETWORK, opt, **SMALL),
}


def rollout_of(algorithm):
    if algorithm.complete_episodes:
        return pg.episodes(ENV, 4)
    return pg.unroll(ENV, 4, 4)


# All with PPO, which makes several steps of a batch; with the others one of each need.
NEEDS = ("plateau", "momo", "mechanize", "sam")
PAIRS = [("ppo", optimizer) for optimizer in SERVED]
PAIRS += [(make, optimizer) for make in MAKERS if make != "ppo" for optimizer in NEEDS]


@pytest.mark.parametrize(("make", "optimizer"), PAIRS)
def test_what_wants_the_loss_gets_it(make, optimizer):
    algorithm = MAKERS[make](SERVED[optimizer])
    rollout = rollout_of(algorithm)
    jax.eval_shape(lambda key: pg.train(key, rollout, algorithm, num_updates=2), KEY)


@pytest.mark.parametrize("optimizer", REFUSED)
@pytest.mark.parametrize("make", MAKERS)
def test_what_wants_more_is_told_before_any_training(make, optimizer):
    transformation, wanted = REFUSED[optimizer]
    algorithm = MAKERS[make](transformation)
    says = rf"cannot be used here.*`value`, the loss.*{wanted}"
    with pytest.raises(TypeError, match=re.compile(says, re.DOTALL)):
        pg.init_train_state(KEY, rollout_of(algorithm), algorithm)


def recorder():
    """Moves nothing, and keeps the loss and the gradient that it was given."""

    def init(params):
        return jnp.zeros(()), params

    def update(updates, state, params=None, *, value, grad, **_):
        return jax.tree.map(jnp.zeros_like, updates), (value, grad)

    return optax.GradientTransformationExtraArgs(init, update)


CASES = {
    "reinforce": (pg.reinforce, {"entropy_coefficient": 0.1}),
    "a2c": (pg.a2c, {"entropy_coefficient": 0.1}),
    "ppo": (pg.ppo, {"num_epochs": 1, "num_minibatches": 1}),
}


def seen(make, options, batch, axis_name=None):
    algorithm = make(NETWORK, recorder(), **options)
    learner = algorithm.init(KEY, batch.obs[0])
    learner = learner._replace(params=batches.PARAMS)
    learner, metrics = algorithm.update(KEY, learner, batch, axis_name)
    return learner.opt_state, metrics


@pytest.mark.parametrize("case", CASES)
def test_the_loss_is_that_of_the_whole_batch(case, monkeypatch):
    make, options = CASES[case]
    batch = batches.episodes() if make is pg.reinforce else batches.rollout()
    (value, grad), metrics = jax.jit(lambda batch: seen(make, options, batch))(batch)
    loss = metrics["policy_loss"] + 0.5 * metrics["value_loss"]
    if case == "a2c":  # whose weights are the same for all of its parts
        loss -= options["entropy_coefficient"] * metrics["entropy"]
    if case != "reinforce":
        np.testing.assert_allclose(value, loss, rtol=1e-5)
    norm = optax.tree.norm(grad)
    np.testing.assert_allclose(norm, metrics["gradient_norm"], rtol=1e-5)
    # In blocks, and over devices, it is the same sum.
    monkeypatch.setattr("pgjax._internal.blocks.CPU_SAMPLES", 8)
    (blocked, _), _ = jax.jit(lambda batch: seen(make, options, batch))(batch)
    np.testing.assert_allclose(blocked, value, rtol=1e-5)
    (shares, _), _ = split(partial(seen, make, options), batch)
    np.testing.assert_allclose(shares, [value, value], rtol=1e-5)


def split(fn, batch):
    """What each of two devices makes of its share; see test_collectives."""

    def cut(x):
        x = jnp.asarray(x)
        return x.reshape(len(x), 2, -1, *x.shape[2:])

    fn = partial(fn, axis_name=collectives.AXIS)
    mapped = jax.vmap(fn, in_axes=1, axis_name=collectives.AXIS)
    return jax.jit(mapped)(jax.tree.map(cut, batch))


def test_a_plateau_is_noticed():
    # The loss stays where it is, as nothing moves: the scale falls.
    plateau = contrib.reduce_on_plateau(factor=0.5, patience=1, atol=1.0)
    optimizer = optax.chain(optax.sgd(0.0), plateau)
    algorithm = pg.a2c(NETWORK, optimizer)
    state, _ = jax.jit(
        lambda key: pg.train(key, pg.unroll(ENV, 4, 4), algorithm, num_updates=9)
    )(KEY)
    assert state.learner.opt_state[1].scale < 1.0
