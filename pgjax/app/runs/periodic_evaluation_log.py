"""Evaluations while agents train: when they are due, what they came to, the best.

An agent is evaluated after the first update at which its environment steps have reached
each multiple of `eval_every`, whatever a chunk is and whoever trains beside it, and
after its last update. (An update that passes several multiples is followed by one
evaluation.) Its greedy policy plays complete episodes, other ones each time, which are
neither those of training nor those of the final evaluation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pgjax.app.runs.metrics_writer import PLACE, Rows
from pgjax.app.settings.run_settings import Config

NEVER = -1  # in place of environment steps
COLUMNS = (
    "update",
    "env_steps",
    "mean_return",
    "std_return",
    "min_return",
    "max_return",
    "mean_length",
    "num_episodes",
    "num_truncated",
)
# What is kept from one process to the next; (S,) each.
_KEPT = (
    "env_steps",
    "mean_return",
    "best_env_steps",
    "best_return",
    "threshold_after",
    "threshold_by",
)


class EvaluationLog:
    """What the evaluations of S agents have come to.

    Args:
      config: the settings that they share; its `eval_every` is not None.
      count: how many agents there are.
    """

    def __init__(self, config: Config, count: int):
        assert config.eval_every is not None
        self._every, self._level = config.eval_every, config.solved_return
        self.env_steps = np.zeros(count, np.int64)  # at the last evaluation
        self.mean_return = np.full(count, np.nan)  # of the last evaluation
        self.best_env_steps = np.full(count, NEVER, np.int64)
        self.best_return = np.full(count, np.nan)
        # The threshold was not reached at the one, if at any evaluation before, and
        # was at the other.
        self.threshold_after = np.zeros(count, np.int64)
        self.threshold_by = np.full(count, NEVER, np.int64)
        self.seconds = 0.0  # spent, in all processes

    def due(self, env_steps: np.ndarray) -> np.ndarray:
        """(S,) bool: whose evaluation is due after so many steps of each, (S,)."""
        return env_steps // self._every > self.env_steps // self._every

    def left(self, env_steps: np.ndarray) -> np.ndarray:
        """(S,) environment steps to the next evaluation of each."""
        return self._every - env_steps % self._every

    def add(
        self,
        who: np.ndarray,
        update: np.ndarray,
        env_steps: np.ndarray,
        games: dict[str, np.ndarray],
    ) -> tuple[Rows, np.ndarray]:
        """Takes in an evaluation.

        Args:
          who: (A,) the numbers of the agents that were evaluated.
          update: (A,) after which.
          env_steps: (A,) after how many.
          games: "returns", "lengths" and "truncated", (A, episodes) each.

        Returns:
          Its rows, as columns of equal length, and the numbers of the agents that have
          never been as good.
        """
        returns = games["returns"].astype(np.float64)
        with np.errstate(invalid="ignore"):  # of returns that are infinite
            mean, deviation = returns.mean(1), _deviation(returns)
        self._note_threshold(who, env_steps, mean)
        self.env_steps[who], self.mean_return[who] = env_steps, mean
        first = np.isfinite(mean) & np.isnan(self.best_return[who])
        better = first | (mean > self.best_return[who])
        better &= np.isfinite(mean)
        best = who[better]
        self.best_return[best] = mean[better]
        self.best_env_steps[best] = env_steps[better]
        rows = {
            PLACE: who,
            "update": update,
            "env_steps": env_steps,
            "mean_return": mean,
            "std_return": deviation,
            "min_return": returns.min(1),
            "max_return": returns.max(1),
            "mean_length": games["lengths"].astype(np.float64).mean(1),
            "num_episodes": np.full(len(who), returns.shape[1]),
            "num_truncated": games["truncated"].sum(1),
        }
        return rows, best

    def _note_threshold(
        self, who: np.ndarray, env_steps: np.ndarray, mean: np.ndarray
    ) -> None:
        if self._level is None:
            return
        open_ = self.threshold_by[who] == NEVER
        reached = open_ & (mean >= self._level)
        self.threshold_by[who[reached]] = env_steps[reached]
        missed = open_ & ~reached
        self.threshold_after[who[missed]] = env_steps[missed]

    def latest_return(self) -> float:
        """The mean over agents of their last evaluation; NaN before the first."""
        known = np.isfinite(self.mean_return)
        return float(self.mean_return[known].mean()) if known.any() else np.nan

    def row(self, agent: int) -> dict[str, Any]:
        """What there is to say of an agent in the summary."""
        best = None
        if self.best_env_steps[agent] != NEVER:
            best = {
                "env_steps": int(self.best_env_steps[agent]),
                "mean": round(float(self.best_return[agent]), 4),
            }
        if self._level is None:
            return {"best_evaluation": best}
        by = self.threshold_by[agent]
        threshold = {
            "after": int(self.threshold_after[agent]),
            "by": None if by == NEVER else int(by),
        }
        return {"best_evaluation": best, "steps_to_threshold": threshold}

    def to_arrays(self) -> dict[str, np.ndarray]:
        """What another process needs to go on."""
        arrays = {name: getattr(self, name) for name in _KEPT}
        return arrays | {"seconds": np.float64(self.seconds)}

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Goes on where the one that `to_arrays` was called on was."""
        for name in _KEPT:
            setattr(self, name, np.array(arrays[name]))
        self.seconds = float(arrays["seconds"])


def _deviation(returns: np.ndarray) -> np.ndarray:
    """(A,) standard deviations of (A, episodes); NaN for that of one episode."""
    if returns.shape[1] == 1:
        return np.full(len(returns), np.nan)
    return returns.std(1, ddof=1)
