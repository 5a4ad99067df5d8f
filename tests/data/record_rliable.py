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


if __name__ == "__main__":
    record = {
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "cases": [case(name) for name in SAMPLES],
    }
    path = Path(__file__).parent / "rliable.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
