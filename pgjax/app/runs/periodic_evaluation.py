"""Has agents evaluated while they train, and keeps the best parameters of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from pgjax.app.runs import hosts
from pgjax.app.runs.compiled_programs import Programs
from pgjax.app.runs.loggers import Loggers
from pgjax.app.runs.periodic_evaluation_log import NEVER, EvaluationLog
from pgjax.app.runs.signals import wait
from pgjax.app.runs.training_log import TrainingLog
from pgjax.app.settings.run_settings import Config


class PeriodicEvaluation:
    """The evaluations of a batch's agents; none, where the config has no `eval_every`.

    Args:
      config: the settings that they share.
      programs: compiled for as many.
      received: signals; with one in it, an evaluation is given up, and made again when
        training goes on.
    """

    def __init__(self, config: Config, programs: Programs, received: list[int]):
        self._programs, self._received = programs, received
        count = len(programs.slots.place)
        on = config.eval_every is not None
        self.evaluations = EvaluationLog(config, count) if on else None
        self._best: Any = None  # parameters on the devices, in slots

    @property
    def seconds(self) -> float:
        """Spent on evaluations, in all processes."""
        return 0.0 if self.evaluations is None else self.evaluations.seconds

    def start(self, params: Any) -> None:
        """Takes the first parameters, in slots, for the best so far."""
        if self.evaluations is not None:
            everyone = np.ones(len(self._programs.slots.place), bool)
            self._best = self._keep(everyone, params, params)

    def load(self, saved: Any) -> None:
        """Goes on where the one that `to_save` was called on was."""
        if self.evaluations is not None:
            self.evaluations.load(saved["log"])
            self._best = self._programs.fill_params(saved["best"])

    def to_save(self) -> Any:
        """What another process needs to go on, on this host; () for nothing."""
        if self.evaluations is None:
            return ()
        best = self._programs.slots.real(self._best)
        return {"log": self.evaluations.to_arrays(), "best": best}

    def left(self, log: TrainingLog) -> np.ndarray:
        """(S,) int32: environment steps to each agent's end, or its next evaluation."""
        if self.evaluations is None:
            return log.left
        left = np.minimum(log.left, self.evaluations.left(log.env_steps))
        return left.astype(np.int32)

    def evaluate_due(self, log: TrainingLog, params: Any, logger: Loggers) -> None:
        """Evaluates the agents that have come to their next evaluation."""
        if self.evaluations is not None:
            self._evaluate(self.evaluations.due(log.env_steps), log, params, logger)

    def evaluate_last(self, log: TrainingLog, params: Any, logger: Loggers) -> bool:
        """Evaluates the agents that have stopped since their last evaluation.

        What comes of it must not be saved: an agent that is given more steps has not
        stopped there. Those that have diverged stand still where they were before.

        Returns:
          Whether it was done: False if there was a signal.
        """
        if self.evaluations is None:
            return True
        left = (log.env_steps > self.evaluations.env_steps) & (log.diverged == 0)
        return self._evaluate(left, log, params, logger)

    def best_params(self, last: Any) -> Any:
        """Leaves (S, ...) on this host; `last` of agents that were never evaluated."""
        if self.evaluations is None:
            return None
        never = self.evaluations.best_env_steps == NEVER

        def fill(best: np.ndarray, last: np.ndarray) -> np.ndarray:
            return np.where(never.reshape(-1, *[1] * (best.ndim - 1)), last, best)

        return jax.tree.map(fill, self._programs.slots.real(self._best), last)

    def _evaluate(
        self, which: np.ndarray, log: TrainingLog, params: Any, logger: Loggers
    ) -> bool:
        if not which.any():
            return True
        assert self.evaluations is not None
        start = time.perf_counter()
        try:
            games = self._played(which, log, params)
        except KeyboardInterrupt:
            return False
        who = np.flatnonzero(which)
        games = {name: x[who] for name, x in games.items()}
        rows, best = self.evaluations.add(
            who, log.updates[who], log.env_steps[who], games
        )
        self._best = self._keep(
            np.isin(np.arange(len(which)), best), params, self._best
        )
        self.evaluations.seconds += time.perf_counter() - start
        logger.write_evaluations(rows)
        return True

    def _played(self, which: np.ndarray, log: TrainingLog, params: Any) -> Any:
        programs = self._programs
        arguments = (
            programs.fill(log.last_work * which),
            (),
            *programs.inputs,
            params,
            programs.fill(log.updates.astype(np.uint32)),
        )
        return unless_stopped(
            lambda: programs.slots.real(programs.play(*arguments)[1]), self._received
        )

    def _keep(self, which: np.ndarray, new: Any, old: Any) -> Any:
        return self._programs.keep(self._programs.fill(which), new, old)


def unless_stopped(play: Callable[[], Any], received: list[int]) -> Any:
    """What `play` returns, in a thread, so that signals are heard meanwhile.

    Raises:
      KeyboardInterrupt: once there is a signal, unless there are other processes, whom
        this one would leave alone.
    """
    if hosts.several():
        return play()
    pool = ThreadPoolExecutor(max_workers=1)
    played = pool.submit(play)
    pool.shutdown(wait=False)
    return wait(played, received)
