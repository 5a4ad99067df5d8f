"""Parameters of gymnax environments: by name, known or traced."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pgjax as pg


def made(**params):
    return pg.make_env("CartPole-v1", params=params)


def falls(env):
    """How fast the poles turn after a push to the right, from the same starts."""
    _, state = env.reset(jax.random.key(0), 4)
    return env.step(jax.random.key(1), state, jnp.ones(4, jnp.int32))[0][:, 3]


def test_a_parameter_changes_the_physics_and_the_name():
    env = made(gravity=0.0, length=1.0)
    assert env.name == "CartPole-v1(gravity=0, length=1)"
    usual = falls(pg.make_env("CartPole-v1"))
    assert np.abs(falls(env)).max() < 0.7 * np.abs(usual).max()


def test_what_follows_from_a_parameter_follows():
    # gymnax has polemass_length and total_mass as fields of their own.
    alone, whole = (
        made(masspole=0.4),
        made(masspole=0.4, total_mass=1.4, polemass_length=0.2),
    )
    np.testing.assert_array_equal(falls(alone), falls(whole))
    kept = made(masspole=0.4, total_mass=1.1, polemass_length=0.05)
    assert np.abs(falls(alone) - falls(kept)).max() > 1e-3


def test_many_gravities_are_one_program():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(gravities):
        return jax.vmap(lambda gravity: falls(made(gravity=gravity)))(gravities)

    gravities = np.linspace(1.0, 20.0, 256, dtype=np.float32)
    speeds = run(gravities)
    run(gravities + 1)
    np.testing.assert_allclose(speeds[0], falls(made(gravity=1.0)), rtol=1e-5)
    np.testing.assert_allclose(speeds[-1], falls(made(gravity=20.0)), rtol=1e-5)
    assert len(np.unique(speeds[:, 0])) > 250


def test_bounds_of_actions_may_be_traced():
    def act(torque):
        env = pg.make_env("Pendulum-v1", params={"max_torque": torque})
        network = pg.mlp_policy(env, (4,))
        obs, state = env.reset(jax.random.key(0), 2)
        params = network.init(jax.random.key(1), obs)
        distribution, _ = network.apply(params, obs)
        speed = env.step(jax.random.key(2), state, jnp.full((2, 1), 99.0))[0][:, 2]
        return distribution.log_std, speed

    scales, speeds = jax.vmap(act)(jnp.array([0.5, 2.0]))
    np.testing.assert_allclose(scales[1] - scales[0], np.log(4) * np.ones((2, 1)))
    np.testing.assert_allclose(
        speeds[1] - speeds[0], 0.05 * 3 * 1.5 * np.ones(2), rtol=1e-4
    )
    known, _ = act(2.0)
    np.testing.assert_allclose(known, scales[1], rtol=1e-6)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"gravty": 1.0}, "CartPole-v1 has no parameter 'gravty'; did you mean grav"),
        ({"x": 1.0}, "no parameter 'x'; there are .*length.*theta_threshold"),
        ({"max_steps_in_episode": 9}, "no parameter: say time_limit=9"),
        ({"gravity": "low"}, "gravity must be a number, such as 9.8, got 'low'"),
        ({"gravity": None}, "gravity must be a number, such as 9.8, got None"),
        ({"gravity": np.ones(3)}, r"shape \(\), as 9.8 has, got \(3,\); map over"),
        ({"gravity": np.nan}, "gravity must be finite, got nan"),
        ({"gravity": True}, "gravity must be a number, got True"),
    ],
)
def test_what_no_parameter_can_be_is_told(params, says):
    with pytest.raises((TypeError, ValueError), match=says):
        made(**params)


def test_integers_flags_and_arrays_are_as_the_field_is():
    player = pg.make_env("Freeway-MinAtar", params={"player_speed": 2.0})
    assert "player_speed=2" in player.name
    with pytest.raises(TypeError, match=r"player_speed must be an integer, got 2\.5"):
        pg.make_env("Freeway-MinAtar", params={"player_speed": 2.5})
    with pytest.raises(TypeError, match="ramping must be True or False, got 1"):
        pg.make_env("Asterix-MinAtar", params={"ramping": 1})
    torque = np.array([-2.0, 0.0, 2.0])
    pg.make_env("Acrobot-v1", params={"available_torque": torque})
    with pytest.raises(TypeError, match="an integer, such as 3, got a traced float32"):
        jax.eval_shape(
            lambda x: falls(pg.make_env("Freeway-MinAtar", params={"player_speed": x})),
            jnp.float32(2.0),
        )
    limit = "time_limit=a traced float32"
    with pytest.raises(ValueError, match=limit):
        jax.eval_shape(lambda x: falls(made(max_steps_in_episode=x)), 3.0)


def test_a_sweep_trains_in_many_worlds_at_once():
    def world(gravity):
        return pg.make_env("CartPole-v1", params={"gravity": gravity}, time_limit=20)

    traced = []

    def rollout(gravity):
        traced.extend([gravity] * isinstance(gravity, jax.core.Tracer))
        return pg.unroll(world(gravity), 2, 8)

    def algorithm(learning_rate):
        network = pg.actor_critic(pg.make_env("CartPole-v1"), (4,))
        return pg.a2c(network, optax.sgd(learning_rate))

    _, metrics = pg.sweep(
        algorithm,
        {"learning_rate": [0.01, 0.1], "gravity": list(np.linspace(1.0, 30.0, 256))},
        rollout,
        num_seeds=1,
        num_updates=2,
    )
    assert len(traced) <= 3  # to check it, to place it, and to compile it
    losses = metrics["value_loss"]
    assert losses.shape == (2, 256, 1, 2)
    # An agent learns as it does alone.
    _, alone = jax.jit(
        lambda key: pg.train(
            key, pg.unroll(world(30.0), 2, 8), algorithm(0.1), num_updates=2
        )
    )(jax.random.key(0))
    np.testing.assert_allclose(losses[1, -1, 0], alone["value_loss"], rtol=1e-4)
    assert np.ptp(losses[1, :, 0, 1]) > 0
