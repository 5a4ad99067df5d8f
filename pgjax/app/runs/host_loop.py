"""The host loop: run chunks of updates, and between them look, record and save.

A checkpoint has all that the next process needs: the training states, in the order of
the agents, whatever the devices; the log; how much of metrics.csv was written, and what
its checksum was; and the settings, so that no others are gone on with.
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from pgjax._internal.meshes import axis_of_envs, check_replicas
from pgjax.app.runs import hosts
from pgjax.app.runs.agent_descriptions import described
from pgjax.app.runs.batches import CHECKPOINTS, Spent, Store
from pgjax.app.runs.compiled_programs import Programs
from pgjax.app.runs.loggers import Kept, Loggers, open_loggers
from pgjax.app.runs.periodic_evaluation import PeriodicEvaluation, unless_stopped
from pgjax.app.runs.periodic_evaluation_log import EvaluationLog
from pgjax.app.runs.progress import Progress, plural
from pgjax.app.runs.run_checkpoints import Checkpoints
from pgjax.app.runs.training_log import TrainingLog
from pgjax.app.settings.execution import Execution
from pgjax.app.settings.grid import Agents, Group
from pgjax.app.settings.run_settings import Config


class Training(NamedTuple):
    """What training S agents gave, as NumPy arrays."""

    params: Any  # leaves (S, ...)
    log: TrainingLog
    seconds: float  # spent training, by all processes that did, one after the other
    stopped: int  # the signal that stopped it before it was complete; 0 for none
    before: Spent  # by processes before this one
    logger: Loggers  # open until the stack is closed that was given
    evaluations: EvaluationLog | None = None  # while training
    best_params: Any = None  # as `params`, of the best of these

    @property
    def evaluating(self) -> float:
        """Seconds spent on evaluations while training, by all processes."""
        return 0.0 if self.evaluations is None else self.evaluations.seconds


class Saved(NamedTuple):
    """Where training goes on."""

    state: Any  # leaves (S, ...)
    log: dict[str, np.ndarray]
    metrics_bytes: Any  # of metrics.csv
    # As `PeriodicEvaluation.to_save`, and "bytes" of evaluations.csv.
    evaluating: Any = ()


def train(
    group: Group,
    agents: Agents,
    programs: Programs,
    execution: Execution,
    store: Store,
    *,
    run: pathlib.Path,
    stack: contextlib.ExitStack,
    begin: Callable[[], None],
    before: Spent,
    compile_seconds: float,
    progress: Progress,
    received: list[int],
    tell: Callable[[str], None],
    warn: Callable[[str], None],
) -> Training:
    """Trains agents from the last checkpoint that there is, or from the beginning.

    Args:
      group: whose settings they share.
      agents: who is trained.
      programs: compiled for as many.
      execution: how it is carried out.
      store: where it is recorded.
      run: the directory of the whole, for what has a place per agent.
      stack: what it closes stays open: the loggers.
      begin: called once it is sure to go on.
      before: what other processes have spent on the run, as far as it is known.
      compile_seconds: that this one has spent.
      progress: is told after every chunk.
      received: signals; with one in it, training stops after the chunk.
      tell: says how it goes.
      warn: says what went wrong where training goes on all the same.

    Raises:
      CheckpointError: if there is one of another format, or of other settings.
      UsageError: if no checkpoint is whole, or one could not be written.
    """
    checkpoints = Checkpoints(
        store.directory / CHECKPOINTS,
        every=execution.checkpoint_every,
        tell=warn,
        settings=store.settings,
    )
    config = group.config
    with contextlib.closing(checkpoints):
        saved = load(config, agents, programs, checkpoints)
        if saved is not None:
            tell(f"going on after {plural(int(saved.log['updates'].max()), 'update')}")
            compiling = float(checkpoints.notes.get("compile_seconds", 0.0))
            before = before.at_least(Spent(float(saved.log["age"]), compiling))
        elif store.metrics.exists():
            tell("there is no checkpoint yet: starting from the beginning")
        loggers = open_loggers(
            execution.log,
            store.directory,
            run=run,
            agents=described(group, agents),
            position=0 if saved is None else int(saved.metrics_bytes),
            sha256=checkpoints.notes.get("metrics_sha256"),
            evaluations=_kept_of_evaluations(config, saved, checkpoints.notes),
            warn=warn,
            tell=tell,
        )
        logger = hosts.on_first(lambda: stack.enter_context(loggers)) or Loggers()
        hosts.on_first(begin)
        training = train_agents(
            config,
            agents,
            programs,
            logger,
            progress,
            received,
            checkpoints,
            saved,
            before=before,
            compile_seconds=compile_seconds,
        )
        hosts.on_first(checkpoints.close)  # nobody leaves before all is on disk
        return training


def _kept_of_evaluations(
    config: Config, saved: Saved | None, notes: Mapping[str, Any]
) -> Kept | None:
    """How much of evaluations.csv was written when a checkpoint was, with `notes`."""
    if config.eval_every is None:
        return None
    if saved is None:
        return Kept()
    return Kept(int(saved.evaluating["bytes"]), notes.get("evaluations_sha256"))


def load(
    config: Config, agents: Agents, programs: Programs, checkpoints: Checkpoints
) -> Saved | None:
    """The newest checkpoint, or None if there is none.

    Raises:
      CheckpointError: if it is of another format, or of other settings.
    """
    log = TrainingLog(config, len(agents.seeds)).to_arrays()
    evaluating: Any = ()
    if config.eval_every is not None:
        evaluating = {
            "log": EvaluationLog(config, len(agents.seeds)).to_arrays(),
            "best": programs.like.learner.params,
            "bytes": np.int64(0),
        }
    like = Saved(programs.like, log, np.int64(0), evaluating)
    return hosts.tree_from_first(lambda: checkpoints.latest(like), like)


def train_agents(
    config: Config,
    agents: Agents,
    programs: Programs,
    logger: Loggers,
    progress: Progress,
    received: list[int],
    checkpoints: Checkpoints,
    saved: Saved | None = None,
    *,
    before: Spent,
    compile_seconds: float,
) -> Training:
    """Trains agents, writing their metrics as it goes.

    Args:
      config: the settings that they share.
      agents: who is trained.
      programs: compiled for as many.
      logger: for their metrics.
      progress: is told after every chunk.
      received: signals; with one in it, training stops after the chunk.
      checkpoints: are written now and then, and when training stops.
      saved: where to go on.
      before: what other processes have spent on the run.
      compile_seconds: that this one has spent.
    """
    log, slots = TrainingLog(config, len(agents.seeds), age=before.age), programs.slots
    evaluating = PeriodicEvaluation(config, programs, received)
    if saved is None:
        state = programs.init(*programs.inputs)
        evaluating.start(state.learner.params)
    else:
        state = programs.fill_states(saved.state)
        log.load(saved.log)
        evaluating.load(saved.evaluating)

    def save() -> None:
        states, evaluated = slots.real(state), evaluating.to_save()
        notes = {
            "metrics_sha256": logger.sha256(),
            "compile_seconds": before.compiling + compile_seconds,
        }
        if evaluated:
            size, notes["evaluations_sha256"] = logger.kept_of_evaluations()
            evaluated["bytes"] = np.int64(size)
        arrays = log.to_arrays(), np.int64(logger.position()), evaluated
        record = Saved(states, *arrays)
        hosts.on_first(lambda: checkpoints.save(log.chunks, record, notes))

    def tell_progress() -> None:
        evaluations = evaluating.evaluations
        progress.update(
            steps=int(log.env_steps.sum()),
            training_seconds=log.seconds - evaluating.seconds,
            done=log.done(),
            num_agents=len(agents.seeds),
            mean_return=log.mean_return(),
            evaluated=np.nan if evaluations is None else evaluations.latest_return(),
            num_solved=log.num_solved(),
        )

    stopped = 0
    tell_progress()  # where it begins
    evaluating.evaluate_due(log, state.learner.params, logger)  # if it was given up
    while log.active.any() and not stopped:
        state, metrics = programs.chunk(
            *(programs.fill(log.work), state, programs.fill(evaluating.left(log))),
            programs.inputs[1],
        )
        who = np.flatnonzero(log.active)
        metrics = {name: x[who] for name, x in slots.real(metrics).items()}
        logger.write(log.add(who, metrics))
        evaluating.evaluate_due(log, state.learner.params, logger)
        tell_progress()
        first_due = hosts.is_first() and checkpoints.due()
        stopped, due = hosts.largest((received or [0])[0], int(first_due))
        if due:
            save()
    save()
    if axis_of_envs(programs.by_agent.mesh) is not None:
        check_replicas(state.learner.params)
    if not stopped and not evaluating.evaluate_last(log, state.learner.params, logger):
        stopped = received[0]
    params = slots.real(state.learner.params)
    return Training(
        params,
        log,
        log.seconds - evaluating.seconds,
        stopped,
        before,
        logger,
        evaluating.evaluations,
        evaluating.best_params(params),
    )


def evaluate_agents(
    agents: Agents, programs: Programs, params: Any, received: list[int]
) -> np.ndarray:
    """Returns of complete episodes: (S, 2, episodes), greedy first, then sampled.

    Args:
      agents: S of them.
      programs: compiled for as many.
      params: leaves (S, ...).
      received: signals.

    Raises:
      KeyboardInterrupt: once there is a signal, unless there are other processes, whom
        this one would leave alone.
    """
    slots = programs.slots
    everyone = programs.fill(np.ones(len(agents.seeds), np.int32))
    params = jax.tree.map(
        lambda x: hosts.place(x, programs.by_agent), slots.fill(params)
    )
    arguments = everyone, (), *programs.inputs, params
    return unless_stopped(
        lambda: slots.real(programs.evaluate(*arguments)[1]), received
    )
