"""Who the agents of a batch are: for what is recorded of them, and for loggers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pgjax.app.runs.agent_loggers import Agent
from pgjax.app.runs.files import digest
from pgjax.app.settings import plan
from pgjax.app.settings.grid import Agents, Group
from pgjax.app.settings.run_settings import to_settings


def trained_with(group: Group, agents: Agents, log: Sequence[str]) -> dict[str, Any]:
    """What a batch is trained with, as JSON data; whoever else the run trains."""
    config = plan.settings_of(group) | {"steps": group.config.steps}
    config |= {"seed": int(agents.seeds[0])}  # of the first, by name
    config |= {name: float(of[0]) for name, of in agents.values.items()}
    values = {name: of.tolist() for name, of in sorted(agents.values.items())}
    who = {"seeds": agents.seeds.tolist(), "values": values}
    return {"config": config, "log": list(log), "agents": digest(who)}


def described(group: Group, agents: Agents) -> list[Agent]:
    """The agents of a batch: a name for each, of what sets it apart, and all settings.

    Args:
      group: whose settings they share.
      agents: who they are.
    """
    labels = [[f"{name}={x}" for x in of] for name, of in agents.labels.items()]
    labels.append([f"seed={seed}" for seed in agents.seeds])
    names = [",".join(of).replace("/", "-") for of in zip(*labels, strict=True)]
    about = {"algorithm": group.config.algorithm, "preset": group.config.preset}
    shared = about | to_settings(group.config)
    shared.pop("seeds")
    return [
        Agent(
            name,
            shared
            | {setting: float(of[i]) for setting, of in agents.values.items()}
            | {"seed": int(agents.seeds[i])},
        )
        for i, name in enumerate(names)
    ]
