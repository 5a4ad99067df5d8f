"""The book of a training run: what every agent has done, and whether it goes on."""

from __future__ import annotations

import time

import numpy as np

from pgjax._internal.divergence import QUANTITIES
from pgjax.app.runs.metrics_writer import PLACE
from pgjax.app.runs.progress import process_age
from pgjax.app.settings.run_settings import Config
from pgjax.train import RECENT

# What is kept from one process to the next; (S,) each.
_KEPT = (
    "updates",
    "env_steps",
    "episodes",
    "recent_return",
    "steps_to_solve",
    "seconds_to_solve",
    "diverged",
    "last_work",
)


class TrainingLog:
    """The totals of every agent, and whether it is still training.

    Args:
      config: the settings that they share.
      count: how many there are.
      age: seconds that other processes have spent on the run before.
    """

    def __init__(self, config: Config, count: int, *, age: float = 0.0):
        self._config = config
        self.updates = np.zeros(count, np.int64)
        self.env_steps = np.zeros(count, np.int64)
        self.episodes = np.zeros(count, np.int64)
        self.recent_return = np.full(count, np.nan)
        self.steps_to_solve = np.full(count, np.nan)
        self.seconds_to_solve = np.full(count, np.nan)
        self.diverged = np.zeros(count, np.int32)  # see `_internal.divergence`
        self.last_work = np.ones(count, np.int32)  # environment steps of a chunk
        self.chunks = 0
        # Of this process, and before it.
        self._start = time.perf_counter()
        self._seconds_before, self._age_before = 0.0, age

    def add(
        self, who: np.ndarray, metrics: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Takes in a chunk of K updates.

        Args:
          who: (A,) the numbers of the agents that were active in it.
          metrics: (A, K) each; "going" says which updates an agent made, the first
            ones, and "diverged" what made it stop.

        Returns:
          The rows to be logged, as columns of equal length.
        """
        self.chunks += 1
        going, recent = metrics["going"], metrics["recent_return"]
        env_steps, episodes = (
            total[who, None]
            + np.where(going, metrics[name], 0).astype(np.int64).cumsum(1)
            for name, total in (
                ("env_steps", self.env_steps),
                ("episodes", self.episodes),
            )
        )
        order = np.arange(going.shape[1])
        last = going.sum(1) - 1  # its last update in this chunk; -1 for none
        updates = self.updates[who, None] + 1 + order
        steps = env_steps[:, -1] - self.env_steps[who]
        self.last_work[who] = np.clip(steps, 1, np.iinfo(np.int32).max)
        self.updates[who] += last + 1
        self.env_steps[who], self.episodes[who] = env_steps[:, -1], episodes[:, -1]
        some = last >= 0
        self.recent_return[who[some]] = recent[some, last[some]]
        self.diverged[who] = metrics["diverged"].max(1)
        self._note_solved(who, going, env_steps, episodes, recent)

        logged = going & (updates % self._config.log_every == 0)
        logged |= (order == last[:, None]) & ~self.active[who, None]
        agent, update = np.nonzero(logged)
        totals = {"update": updates, "env_steps": env_steps, "episodes": episodes}
        apart = "going", "diverged"
        columns = {k: x for k, x in metrics.items() if k not in apart} | totals
        return {PLACE: who[agent]} | {
            name: column[agent, update] for name, column in columns.items()
        }

    def _note_solved(
        self,
        who: np.ndarray,
        going: np.ndarray,
        env_steps: np.ndarray,
        episodes: np.ndarray,
        recent: np.ndarray,
    ) -> None:
        level = self._config.solved_return
        if level is None:
            return
        solved = going & (recent > level) & (episodes >= RECENT)
        new = solved.any(1) & np.isnan(self.steps_to_solve[who])
        first = env_steps[np.arange(len(who)), solved.argmax(1)]
        self.steps_to_solve[who[new]] = first[new]
        self.seconds_to_solve[who[new]] = self.age

    @property
    def active(self) -> np.ndarray:
        """(S,) bool: whether each agent is still training."""
        active = (self.env_steps < self._config.steps) & (self.diverged == 0)
        if self._config.until_solved:
            active &= np.isnan(self.steps_to_solve)
        return active

    @property
    def work(self) -> np.ndarray:
        """(S,) environment steps of the last chunk; 0 for agents that have stopped."""
        return self.last_work * self.active

    @property
    def left(self) -> np.ndarray:
        """(S,) int32: environment steps to go; of more, as many as it can count."""
        left = np.clip(self._config.steps - self.env_steps, 0, np.iinfo(np.int32).max)
        return left.astype(np.int32)

    @property
    def seconds(self) -> float:
        """Time spent training, in all processes."""
        return self._seconds_before + time.perf_counter() - self._start

    @property
    def age(self) -> float:
        """Seconds since the processes that trained were started, added up."""
        return self._age_before + process_age()

    def num_solved(self) -> int | None:
        """How many agents have solved the task; None if nobody says when it is."""
        if self._config.solved_return is None:
            return None
        return int(np.isfinite(self.steps_to_solve).sum())

    def mean_return(self) -> float:
        """The mean over agents of their recent return; NaN before the first episode."""
        known = np.isfinite(self.recent_return) & (self.diverged == 0)
        return float(self.recent_return[known].mean()) if known.any() else np.nan

    def done(self) -> float:
        """The share of the work that is done, in [0, 1]."""
        shares = np.minimum(self.env_steps / self._config.steps, 1.0)
        return float(np.where(self.active, shares, 1.0).mean())

    def divergence_of(self, agent: int) -> tuple[int, str] | None:
        """The update that went wrong and in what, or None if none did."""
        if not self.diverged[agent]:
            return None
        return int(self.updates[agent]) + 1, QUANTITIES[self.diverged[agent] - 1]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """What another process needs to go on."""
        arrays = {name: getattr(self, name) for name in _KEPT}
        arrays["chunks"] = np.int64(self.chunks)
        return arrays | {
            "seconds": np.float64(self.seconds),
            "age": np.float64(self.age),
        }

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Goes on where the log that `to_arrays` was called on was."""
        for name in _KEPT:
            setattr(self, name, np.array(arrays[name]))
        self.chunks = int(arrays["chunks"])
        self._seconds_before = float(arrays["seconds"])
        self._age_before = max(self._age_before, float(arrays["age"]))
