"""The book of a training run: what every agent has done, and whether it goes on."""

from __future__ import annotations

import numpy as np

from pgjax.lab.config import Config
from pgjax.lab.grid import Agents
from pgjax.lab.progress import process_age
from pgjax.train import RECENT


class TrainingLog:
    """The totals of every agent, and whether it is still training."""

    def __init__(self, config: Config, agents: Agents):
        self._config = config
        self._agents = agents
        self._update = 0
        count = len(agents.seeds)
        self.env_steps = np.zeros(count, np.int64)
        self.episodes = np.zeros(count, np.int64)
        self.recent_return = np.full(count, np.nan)
        self.steps_to_solve = np.full(count, np.nan)
        self.seconds_to_solve = np.full(count, np.nan)
        # Environment steps of the last chunk; 0 for agents that have stopped.
        self.work = np.ones(count, np.int32)

    def add(
        self, who: np.ndarray, metrics: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Takes in a chunk of K updates.

        Args:
          who: (A,) the numbers of the agents that were active in it.
          metrics: (A, K) each; "going" says which updates an agent still made, of
            which each made the first.

        Returns:
          The rows to be logged, as columns of equal length.
        """
        going, recent = metrics["going"], metrics["recent_return"]
        env_steps, episodes = (
            total[who, None] + np.where(going, metrics[name], 0).cumsum(1)
            for name, total in (
                ("env_steps", self.env_steps),
                ("episodes", self.episodes),
            )
        )
        last = going & ~np.roll(going, -1, axis=1)  # its last update in this chunk
        last[:, -1] = going[:, -1]
        updates = self._update + 1 + np.arange(going.shape[1])
        self._update = updates[-1]
        steps = env_steps[:, -1] - self.env_steps[who]
        self.work[who] = np.clip(steps, 1, np.iinfo(np.int32).max)
        self.env_steps[who], self.episodes[who] = env_steps[:, -1], episodes[:, -1]
        self.recent_return[who] = recent[last]
        self._note_solved(who, going, env_steps, episodes, recent)
        goes_on = going[:, -1] & (env_steps[:, -1] < self._config.steps)
        if self._config.until_solved:
            goes_on &= np.isnan(self.steps_to_solve[who])
        self.work[who] *= goes_on

        logged = going & (updates % self._config.log_every == 0)
        logged |= last & ~goes_on[:, None]
        agent, update = np.nonzero(logged)
        labels = {"seed": self._agents.seeds, **self._agents.labels}
        totals = {"env_steps": env_steps, "episodes": episodes}
        columns = {k: x for k, x in metrics.items() if k != "going"} | totals
        return (
            {name: x[who[agent]] for name, x in labels.items()}
            | {"update": updates[update]}
            | {name: column[logged] for name, column in columns.items()}
        )

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
        self.seconds_to_solve[who[new]] = process_age()

    @property
    def active(self) -> np.ndarray:
        """(S,) bool: whether each agent is still training."""
        return self.work > 0

    def num_solved(self) -> int | None:
        """How many agents have solved the task; None if nobody says when it is."""
        if self._config.solved_return is None:
            return None
        return int(np.isfinite(self.steps_to_solve).sum())

    def mean_return(self) -> float:
        """The mean over agents of their recent return; NaN before the first episode."""
        known = np.isfinite(self.recent_return)
        return float(self.recent_return[known].mean()) if known.any() else np.nan

    def done(self) -> float:
        """The share of the work that is done, in [0, 1]."""
        shares = np.minimum(self.env_steps / self._config.steps, 1.0)
        return float(np.where(self.active, shares, 1.0).mean())
