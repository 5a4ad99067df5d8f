"""How much noise each baseline takes from the gradient, and how much bias it adds.

    python -m experiments.gradient_variance            about 5 minutes on 2 cores
    python -m experiments.gradient_variance --quick    does it run?

On two small MDPs, where the exact gradient can be computed, and on CartPole, with
policies from several stages of training. Every gradient is made by the functions that
training uses. Noise is the trace of the covariance of a batch's gradient g; the
signal-to-noise ratio is |grad J|^2 over it, and does not charge for bias. The error
does: the root of E |g - grad J|^2, relative to |grad J|.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import pgjax as pg
from experiments.common import quick_and_out
from experiments.gradients import BASELINES, Moments, gradient_moments, recorder
from experiments.mdps import GAMMA, MDP, chain, exact, make_env, random_mdp
from pgjax.app.analysis.bootstrap import Interval, bootstrap
from pgjax.app.analysis.comparison_figures import COLOURS
from pgjax.app.machine import about_this_machine
from pgjax.train import recent_return

RESULTS = pathlib.Path("experiments/results/gradient_variance")
SEED = 40_000
# Updates of CartPole's training; later, most batches are perfect and have no gradient.
STAGES = (0, 10, 25, 50, 100)
LABELS = {
    "none": "no baseline",
    "mean": "episode mean (the article's)",
    "batch_mean": "batch mean",
    "leave_one_out": "leave one out",
    "value": "value function",
}


def on_mdp(mdp: MDP, sizes: tuple[int, ...], num_episodes: int) -> list[dict[str, Any]]:
    """A row for each baseline and batch size."""
    truth, value = exact(mdp)
    env, critic = make_env(mdp), jnp.asarray(value, jnp.float32)

    def apply(params: Any, obs: Any) -> tuple[Any, Any]:
        return pg.Categorical(obs @ params), obs @ critic

    network = pg.Network(lambda key, obs: None, apply)
    theta = jnp.asarray(mdp.theta, jnp.float32)
    rows = []
    for name, baseline in BASELINES.items():
        algorithm = pg.reinforce(network, recorder(), gamma=GAMMA, baseline=baseline)
        for size in sizes:
            if name == "leave_one_out" and size < 2:
                continue
            rollout, num_batches = pg.episodes(env, size), num_episodes // size

            def measure(
                key: Any,
                rollout: Any = rollout,
                algorithm: Any = algorithm,
                num_batches: int = num_batches,
            ) -> Moments:
                return gradient_moments(
                    key, rollout, algorithm, theta, num_batches=num_batches
                )

            moments = jax.jit(measure)(jax.random.key(SEED))
            error = -np.asarray(moments.mean).reshape(truth.shape) - truth  # a loss's
            noise = float(moments.variance)
            # |error|^2 holds the noise of the mean too, whose expectation is known.
            bias = np.sum(error**2) - noise / num_batches
            rows.append(
                {
                    "task": mdp.name,
                    "baseline": name,
                    "episodes": size,
                    "batches": num_batches,
                    "variance": noise,
                    "signal_to_noise": float(np.sum(truth**2) / noise),
                    "relative_bias": float(np.sqrt(max(bias, 0.0) / np.sum(truth**2))),
                    "relative_standard_error": float(
                        np.sqrt(noise / num_batches / np.sum(truth**2))
                    ),
                }
            )
            print(_line(rows[-1]), flush=True)
    return rows


def on_cartpole(
    *,
    sizes: tuple[int, ...],
    stages: tuple[int, ...],
    num_agents: int,
    num_episodes: int,
    seed: int = SEED,
) -> list[dict[str, Any]]:
    """A row for each stage, baseline and batch size; lists hold a number per agent.

    Agents learn by the article's recipe, with a critic that is fitted beside the policy
    and serves the value baseline; every baseline is tried on the same policies.
    """
    env = pg.make_env("CartPole-v1", time_limit_terminates=True)
    network = pg.actor_critic(env, (128,), activation="relu", initializer="torch")
    rollout = pg.episodes(env, 4)
    teacher = pg.reinforce(
        network, optax.adam(0.01), baseline=pg.value_baseline, reduction="sum"
    )
    keys = jax.vmap(jax.random.key)(jnp.arange(seed, seed + num_agents))
    state = jax.jit(jax.vmap(lambda k: pg.init_train_state(k, rollout, teacher)))(keys)

    def train(state: Any, updates: int) -> Any:
        def steps(state: Any) -> Any:
            return pg.train_steps(state, rollout, teacher, num_updates=updates)[0]

        return jax.jit(jax.vmap(steps))(state)

    rows, done = [], 0
    for stage in stages:
        if stage > done:
            state, done = train(state, stage - done), stage
        recent = jax.vmap(recent_return)(state)
        for name, baseline in BASELINES.items():
            algorithm = pg.reinforce(
                network, recorder(), baseline=baseline, reduction="episodes"
            )
            for size in sizes:
                batches = pg.episodes(env, size)
                num_batches = num_episodes // size

                def measure(
                    key: Any,
                    params: Any,
                    batches: Any = batches,
                    a: Any = algorithm,
                    num_batches: int = num_batches,
                ) -> Moments:
                    return gradient_moments(
                        key,
                        batches,
                        a,
                        params,
                        num_batches=num_batches,
                        part=lambda grads: grads["actor"],
                    )

                def each(agent: tuple, measure: Any = measure) -> Moments:
                    return measure(*agent)

                agents = jax.vmap(lambda k: jax.random.fold_in(k, 1))(keys)
                moments = jax.jit(lambda a, each=each: jax.lax.map(each, a))(
                    (agents, state.learner.params)
                )
                rows.append(
                    {
                        "task": "CartPole-v1",
                        "updates": stage,
                        "mean_return": float(np.nanmean(recent)) if stage else None,
                        "baseline": name,
                        "episodes": size,
                        "batches": num_batches,
                        "variance": np.asarray(moments.variance).tolist(),
                        "signal": np.asarray(moments.signal).tolist(),
                    }
                )
        print(f"CartPole-v1 after {stage} updates: {len(rows)} rows", flush=True)
    return rows


def against_none(
    rows: list[dict[str, Any]], *, episodes: int
) -> dict[str, list[Interval]]:
    """Each baseline's noise over that without one, stage by stage.

    Ratios of means over agents, whose intervals are from a bootstrap of agents: the
    same agents above and below, since all baselines are tried on the same policies.
    """
    found: dict[str, list[Interval]] = {}
    of = {
        (row["updates"], row["baseline"]): np.array(row["variance"])
        for row in rows
        if row["episodes"] == episodes
    }
    for (stage, name), variance in of.items():
        pairs = np.stack([variance, of[stage, "none"]], axis=1)  # (agents, 2)
        estimates = bootstrap(lambda x: x.mean(1), pairs)
        low, high = np.quantile(estimates[:, 0] / estimates[:, 1], [0.025, 0.975])
        ratio = pairs[:, 0].mean() / pairs[:, 1].mean()
        found.setdefault(name, []).append(
            Interval(float(ratio), float(low), float(high))
        )
    return found


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['task']:10s} {row['baseline']:13s} {row['episodes']:3d} episodes: "
        f"variance {row['variance']:.4g}, signal to noise "
        f"{row['signal_to_noise']:.3g}, bias {row['relative_bias']:.2%} "
        f"(+- {row['relative_standard_error']:.2%})"
    )


def _error(row: dict[str, Any]) -> float:
    """Noise and bias together, relative to the exact gradient's norm."""
    return float(np.sqrt(1 / row["signal_to_noise"] + row["relative_bias"] ** 2))


def draw(path: pathlib.Path, mdps: list[dict], cartpole: list[dict]) -> None:
    """The error on the MDPs, and noise against no baseline on CartPole."""
    tasks = list(dict.fromkeys(row["task"] for row in mdps))
    figure = Figure(figsize=(10.5, 3.6), dpi=160, layout="constrained")
    axes = figure.subplots(1, len(tasks) + 1)
    for axis, task in zip(axes, tasks, strict=False):
        for colour, name in zip(COLOURS, BASELINES, strict=False):
            rows = [r for r in mdps if (r["task"], r["baseline"]) == (task, name)]
            axis.loglog(
                [row["episodes"] for row in rows],
                [_error(row) for row in rows],
                "o-",
                color=colour,
                ms=4,
                label=LABELS[name],
            )
        axis.set_title(f"{task}, exact gradient known", fontsize=9)
        axis.set_xlabel("episodes per batch")
        sizes = sorted({row["episodes"] for row in mdps})
        axis.set_xticks(sizes, map(str, sizes))
        low, high = axis.get_ylim()
        ticks = [x for x in (0.5, 1, 2, 5, 10, 20, 50) if low <= x <= high]
        axis.set_yticks(ticks, map(str, ticks))
        axis.minorticks_off()
        axis.set_ylabel("relative error of the gradient (RMS)")
    draw_noise(axes[-1], cartpole)
    axes[0].legend(frameon=False, fontsize=7)
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def draw_noise(axis: Any, rows: list[dict[str, Any]], episodes: int = 4) -> None:
    """CartPole's gradient noise over that without a baseline, along training."""
    stages = list(dict.fromkeys(row["updates"] for row in rows))
    found = against_none(rows, episodes=episodes)
    for i, (name, intervals) in enumerate(found.items()):
        middle, low, high = np.array(intervals).T
        axis.errorbar(
            np.arange(len(stages)) + 0.07 * (i - 2),  # beside one another
            middle,
            yerr=[middle - low, high - middle],
            color=COLOURS[i],
            marker="o",
            ms=4,
            capsize=2,
            label=LABELS[name],
        )
    axis.set_yscale("log")
    axis.set_xticks(range(len(stages)), [str(stage) for stage in stages])
    axis.set_title(f"CartPole-v1, {episodes} episodes, 95% interval", fontsize=9)
    axis.set_xlabel("updates trained before")
    axis.set_ylabel("gradient variance, relative to no baseline")


def main() -> None:
    """Measures, writes results.json, and draws."""
    quick, out = quick_and_out(__doc__, RESULTS)
    out.mkdir(parents=True, exist_ok=True)
    sizes = (2, 8) if quick else (2, 8, 32)
    mdps = [
        row
        for mdp in (chain(), random_mdp())
        for row in on_mdp(mdp, sizes, 2**10 if quick else 2**16)
    ]
    cartpole = on_cartpole(
        sizes=(4,) if quick else (4, 16),
        stages=(0, 4) if quick else STAGES,
        num_agents=2 if quick else 16,
        num_episodes=32 if quick else 256,
    )
    results = {
        "command": "python -m experiments.gradient_variance",
        **about_this_machine(),
        "seed": SEED,
        "mdps": mdps,
        "cartpole": cartpole,
    }
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(out / "gradient_variance.png", mdps, cartpole)
    for name, intervals in against_none(cartpole, episodes=4).items():
        ratios = ", ".join(f"{x:.3f} [{a:.3f}, {b:.3f}]" for x, a, b in intervals)
        print(f"CartPole-v1, 4 episodes, {name}: {ratios}")


if __name__ == "__main__":
    from pgjax.app.prepare_jax import prepare_jax

    prepare_jax()
    main()
