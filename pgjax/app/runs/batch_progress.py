"""The progress of a batch, told as part of the whole run's."""

from __future__ import annotations

import math

from pgjax.app.runs.batches import Finished
from pgjax.app.runs.progress import Progress


class BatchProgress:
    """A batch's part in the progress of the whole run."""

    def __init__(self, progress: Progress, num_agents: int):
        self._progress, self._num_agents = progress, num_agents
        self.steps_before = self._agents = self._solved = 0
        self._seconds = 0.0

    def add(self, finished: Finished) -> None:
        """Counts a batch that is finished."""
        rows = finished.rows
        self._seconds += finished.seconds
        self._agents += len(rows)
        self.steps_before += sum(row["env_steps"] for row in rows)
        self._solved += sum(row["steps_to_solve"] is not None for row in rows)

    def update(
        self,
        *,
        steps: int,
        training_seconds: float,
        done: float,
        num_agents: int,
        mean_return: float,
        num_solved: int | None,
        evaluated: float = math.nan,
    ) -> None:
        """Tells how far the present batch is."""
        self._progress.update(
            steps=self.steps_before + steps,
            training_seconds=self._seconds + training_seconds,
            done=(self._agents + done * num_agents) / self._num_agents,
            num_agents=self._num_agents,
            mean_return=mean_return,
            num_solved=None if num_solved is None else self._solved + num_solved,
            evaluated=evaluated,
        )
