"""Records what the rliable package says of fixed samples, into rliable.json.

pip install rliable 'pandas<3' && python tests/data/record_rliable.py
"""

import importlib.metadata
import json
from pathlib import Path

import numpy as np
from rliable import library, metrics

rng = np.random.default_rng(7)
SAMPLES = {
    "normal": rng.normal(480, 20, 37),
    "skewed": 500 - rng.gamma(0.7, 60, 64),
    "few": rng.normal(0, 1, 6),
}
OTHERS = {
    "normal": rng.normal(470, 25, 41),
    "skewed": 500 - rng.gamma(0.9, 60, 64),
    "few": rng.normal(0.5, 1, 9),
}
# (agents, tasks) normalised scores of two methods.
TASKS = np.column_stack(
    [rng.normal(0.9, 0.2, 12), 1.1 - rng.gamma(0.7, 0.3, 12), rng.normal(0.4, 0.1, 12)]
)
OTHER_TASKS = np.column_stack(
    [rng.normal(0.8, 0.2, 12), 1.1 - rng.gamma(0.9, 0.3, 12), rng.normal(0.5, 0.1, 12)]
)
PACKAGES = ("rliable", "arch", "numpy", "scipy", "pandas")


def aggregates(scores):
    """The two that are averaged over agents."""
    return np.array([metrics.aggregate_iqm(scores), metrics.aggregate_mean(scores)])


def case(name):
    """All numbers of one sample, and of it against another."""
    x, y = np.round(SAMPLES[name], 3), np.round(OTHERS[name], 3)
    scores = {"x": x[:, None]}
    estimates, intervals = library.get_interval_estimates(
        scores, aggregates, reps=20_000, random_state=np.random.RandomState(0)
    )
    better, ends = library.get_interval_estimates(
        {"xy": (x[:, None], y[:, None])},
        metrics.probability_of_improvement,
        reps=2_000,
        random_state=np.random.RandomState(0),
    )
    levels = np.quantile(x, [0.1, 0.5, 0.9]).round(3)
    profile, band = library.create_performance_profile(scores, levels, reps=20_000)
    return {
        "name": name,
        "x": x.tolist(),
        "y": y.tolist(),
        "iqm": float(estimates["x"][0]),
        "iqm_interval": intervals["x"][:, 0].tolist(),
        "mean": float(estimates["x"][1]),
        "mean_interval": intervals["x"][:, 1].tolist(),
        "probability_of_improvement": float(np.ravel(better["xy"])[0]),
        "probability_interval": np.ravel(ends["xy"]).tolist(),
        "levels": levels.tolist(),
        "profile": np.ravel(profile["x"]).tolist(),
        "profile_low": np.ravel(band["x"][0]).tolist(),
        "profile_high": np.ravel(band["x"][1]).tolist(),
    }


def across():
    """All numbers of one method on several tasks, and of it against another."""
    x, y = np.round(TASKS, 4), np.round(OTHER_TASKS, 4)
    names = "iqm", "mean", "median", "optimality_gap"

    def all_four(scores):
        return np.array(
            [getattr(metrics, f"aggregate_{name}")(scores) for name in names]
        )

    estimates, intervals = library.get_interval_estimates(
        {"x": x}, all_four, reps=20_000, random_state=np.random.RandomState(0)
    )
    levels = np.array([0.3, 0.6, 0.9, 1.05])
    profile, band = library.create_performance_profile({"x": x}, levels, reps=20_000)
    return {
        "x": x.tolist(),
        "y": y.tolist(),
        **{name: float(estimates["x"][i]) for i, name in enumerate(names)},
        **{
            f"{name}_interval": intervals["x"][:, i].tolist()
            for i, name in enumerate(names)
        },
        "probability_of_improvement": float(metrics.probability_of_improvement(x, y)),
        "levels": levels.tolist(),
        "profile": np.ravel(profile["x"]).tolist(),
        "profile_low": np.ravel(band["x"][0]).tolist(),
        "profile_high": np.ravel(band["x"][1]).tolist(),
    }


if __name__ == "__main__":
    record = {
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "cases": [case(name) for name in SAMPLES],
        "across": across(),
    }
    path = Path(__file__).parent / "rliable.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
