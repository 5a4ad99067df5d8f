"""Loggers that keep the curves of each agent apart: TensorBoard, Weights & Biases.

An agent's hyperparameters and its final evaluation are told beside its curves.
"""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import pgjax as pg
from pgjax.app.errors import UsageError
from pgjax.app.runs.files import digest, read_json
from pgjax.app.runs.metrics_writer import PLACE, Rows
from pgjax.app.runs.results import CONFIG
from pgjax.app.runs.revisions import revisions
from pgjax.app.settings.grid import label

_COUNTS = (PLACE, "update", "env_steps", "episodes")  # not curves of their own
# What an agent came to, by the names that loggers give it.
RESULTS = ("eval/greedy_return", "eval/sampled_return", "steps_to_solve")


class Agent(NamedTuple):
    """Who has curves."""

    name: str  # what sets it apart from the others of its run
    settings: dict[str, Any]  # all of them, and its seed


class PerAgent:
    """Curves of each agent by itself, under its name.

    Args:
      agents: in the order of their places.
    """

    def __init__(self, agents: Sequence[Agent]):
        self._agents = agents
        self._sinks: dict[int, Any] = {}

    def write(self, rows: Rows, *, beside: bool = False) -> None:
        """Takes in a chunk's rows, or others that stand beside them."""
        apart = [name for name in rows if name not in _COUNTS]
        for i, number in enumerate(rows[PLACE].tolist()):
            env_steps = int(rows["env_steps"][i])
            values = {name: float(rows[name][i]) for name in apart}
            known = {name: x for name, x in values.items() if np.isfinite(x)}
            sink = self._sink(number, env_steps + beside)  # which keeps what is there
            self._tell(sink, known, env_steps)

    def end(self, results: Sequence[Mapping[str, Any]]) -> None:
        """Takes in what each agent came to, as `summary.agent_rows` has it."""
        for number, row in enumerate(results):
            steps = row["env_steps"]
            found = (
                row["greedy_return"]["mean"],
                row["sampled_return"]["mean"],
                row["steps_to_solve"],
            )
            told = zip(RESULTS, found, strict=True)
            known = {name: float(x) for name, x in told if x is not None}
            best = row.get("best_greedy_return", {}).get("mean")
            known |= {} if best is None else {"eval/best_greedy_return": float(best)}
            self._conclude(self._sink(number, steps + 1), known, steps)

    def _sink(self, number: int, env_steps: int) -> Any:
        """Where an agent's curves go on, from a number of steps on."""
        if number not in self._sinks:
            self._sinks[number] = self._open(self._agents[number], env_steps)
        return self._sinks[number]

    def _open(self, agent: Agent, env_steps: int) -> Any:
        raise NotImplementedError

    def _tell(self, sink: Any, values: dict[str, float], env_steps: int) -> None:
        raise NotImplementedError

    def _conclude(self, sink: Any, values: dict[str, float], env_steps: int) -> None:
        raise NotImplementedError


class TensorBoardLogger(PerAgent):
    """RUN/tensorboard, a directory per agent, by environment steps.

    The tab of hyperparameters has a row for each.
    """

    def __init__(self, run: pathlib.Path, agents: Sequence[Agent], *, resumed: bool):
        super().__init__(agents)
        self._directory, self._resumed = run / "tensorboard", resumed

    def _open(self, agent: Agent, env_steps: int) -> Any:
        from tensorboardX import SummaryWriter
        from tensorboardX.summary import hparams

        directory = self._directory / agent.name
        if self._resumed:  # what comes after the checkpoint is written anew
            suffix = f".{env_steps}"  # its name is otherwise the second it is made in
            options: Any = {"purge_step": env_steps, "filename_suffix": suffix}
        else:
            shutil.rmtree(directory, ignore_errors=True)
            options = {}
        sink = SummaryWriter(str(directory), **options)
        names = dict.fromkeys(RESULTS)
        for summary in hparams(as_scalars(agent.settings), names)[:2]:
            sink.file_writer.add_summary(summary)
        return sink

    def _tell(self, sink: Any, values: dict[str, float], env_steps: int) -> None:
        for name, value in values.items():
            sink.add_scalar(name, value, env_steps)

    def _conclude(self, sink: Any, values: dict[str, float], env_steps: int) -> None:
        from tensorboardX.summary import hparams

        self._tell(sink, values, env_steps)
        sink.file_writer.add_summary(hparams({}, {})[2])

    def close(self) -> None:
        """Closes every agent's file."""
        for sink in self._sinks.values():
            sink.close()


def as_scalars(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as TensorBoard takes them: numbers, truth values and texts.

    >>> as_scalars({"hidden": [64, 64], "clip": None, "env_options": {"size": 5}})
    {'hidden': '64-64', 'clip': 'none', 'env_options.size': 5}
    """
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{k}": x for k, x in as_scalars(value).items()}
        else:
            found[name] = label(value)
    return found


class WandbLogger(PerAgent):
    """A Weights & Biases run per agent, in a group that is named after the run.

    Offline unless the environment's WANDB_MODE says otherwise; `wandb sync` sends it.
    Its config has every setting of the agent, its summary the final evaluation. A
    process that goes on with a run goes on with these, too: they have the same ids.

    Args:
      run: the directory.
      agents: in the order of their places.
      tell: says where a run is that is not offline.
    """

    def __init__(
        self,
        run: pathlib.Path,
        agents: Sequence[Agent],
        tell: Callable[[str], None] = lambda text: None,
    ):
        super().__init__(agents)
        self._run, self._tell_user = run, tell
        self._started = _started(run)
        self._about = {"pgjax_version": pg.__version__, "git": revisions()}

    def _open(self, agent: Agent, env_steps: int) -> Any:
        import wandb

        mode: Any = os.environ.get("WANDB_MODE", "offline")
        sink = wandb.init(
            project="pgjax",
            group=self._run.name,
            name=agent.name,
            id=self._id(agent),
            config={**agent.settings, **self._about},
            dir=str(self._run),
            mode=mode,
            reinit="create_new",
            resume="allow",
            # Its words are many lines for each agent.
            settings=wandb.Settings(silent=True, console="off"),
        )
        if mode == "online" and not self._sinks:
            self._tell_user(f"W&B: group {self._run.name} of {sink.project_url}")
        return sink

    def _id(self, agent: Agent) -> str:
        """The same for as long as the run's directory has its name."""
        lasting = {name: x for name, x in agent.settings.items() if name != "steps"}
        return digest([self._run.name, self._started, lasting])[:16]

    def _tell(self, sink: Any, values: dict[str, float], env_steps: int) -> None:
        sink.log({**values, "env_steps": env_steps}, step=env_steps)

    def _conclude(self, sink: Any, values: dict[str, float], env_steps: int) -> None:
        sink.summary.update(values)

    def rename(self) -> None:
        """Gives the agents' runs the names that they have now."""
        for agent in self._agents:
            self._open(agent, 0).finish()

    def close(self) -> None:
        """Finishes every agent's run."""
        for sink in self._sinks.values():
            sink.finish()


def _started(run: pathlib.Path) -> Any:
    try:
        return read_json(run / CONFIG).get("started")
    except UsageError:
        return None


def rename_curves(
    run: pathlib.Path, log: Sequence[str], renamed: Mapping[str, Agent]
) -> None:
    """Gives the curves of agents whose grid has grown their new names.

    Args:
      run: the directory.
      log: names of its loggers.
      renamed: who they are now, by their names before.
    """
    for before, agent in renamed.items():
        directory = run / "tensorboard" / before
        if directory.is_dir():
            directory.rename(directory.with_name(agent.name))
    if "wandb" in log and renamed:
        WandbLogger(run, list(renamed.values())).rename()
