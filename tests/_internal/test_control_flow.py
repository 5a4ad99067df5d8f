import jax
import jax.numpy as jnp
import numpy as np

from pgjax._internal.control_flow import any_agent

MASKS = np.array([[False, True], [False, False], [False, False]])


def test_alone_it_is_any():
    for mask in MASKS:
        assert any_agent(jnp.asarray(mask)) == mask.any()
        assert jax.jit(any_agent)(mask) == mask.any()


def test_under_vmap_one_agent_answers_for_all():
    np.testing.assert_array_equal(jax.vmap(any_agent)(MASKS), [True] * 3)
    np.testing.assert_array_equal(jax.jit(jax.vmap(any_agent))(MASKS), [True] * 3)
    np.testing.assert_array_equal(jax.vmap(any_agent)(MASKS[1:]), [False] * 2)


def test_under_two_vmaps_one_agent_of_either_answers_for_all():
    masks = np.stack([MASKS, np.zeros_like(MASKS)])
    answer = jax.vmap(jax.vmap(any_agent))(masks)
    np.testing.assert_array_equal(answer, np.ones((2, 3), bool))
    answer = jax.vmap(jax.vmap(any_agent), in_axes=1)(masks)
    np.testing.assert_array_equal(answer, np.ones((3, 2), bool))


def test_a_mask_that_all_agents_share_needs_no_batching():
    answer = jax.vmap(lambda x: any_agent(jnp.asarray(MASKS[0])) & (x > 0))(jnp.ones(2))
    np.testing.assert_array_equal(answer, [True, True])


def branch(ask, mask, x):
    return jax.lax.cond(ask(mask), jnp.sin, jnp.zeros_like, x)


def program(ask):
    arguments = MASKS, np.ones((3, 2), np.float32)
    return (
        jax.jit(jax.vmap(lambda mask, x: branch(ask, mask, x)))
        .lower(*arguments)
        .as_text()
    )


def test_a_branch_stays_a_branch_under_vmap():
    assert "stablehlo.case" in program(any_agent)
    assert "stablehlo.select" not in program(any_agent)
    # What it is for: the plain question makes vmap run both branches.
    assert "stablehlo.case" not in program(jnp.any)
    assert "stablehlo.select" in program(jnp.any)


def test_a_loop_under_vmap_asks_once_for_all_agents():
    def steps_until_done(length):
        def running(carry):
            return any_agent(carry[0] < length)

        return jax.lax.while_loop(running, lambda c: (c[0] + 1, c[1] + 1), (0, 0))[1]

    # All agents take as many steps as the longest one: none is frozen by a select.
    np.testing.assert_array_equal(jax.vmap(steps_until_done)(jnp.arange(4)), [3] * 4)
