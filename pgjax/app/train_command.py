"""`pgjax train` and `pgjax sweep`, and the same from Python."""

from __future__ import annotations

import inspect
import os
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

from pgjax.app.errors import UsageError
from pgjax.app.settings.execution import EVERY, Execution, check

if TYPE_CHECKING:
    from pgjax.app.settings.config_file import ConfigFile

Logger = Literal["none", "parquet", "tensorboard", "wandb"]


class Run(NamedTuple):
    """A run that is complete."""

    directory: pathlib.Path

    @property
    def summary(self) -> dict[str, Any]:
        """What each agent came to: the content of summary.json."""
        from pgjax.app.runs.results import load_summary
        from pgjax.app.runs.run_record import load_record

        names = list(load_record(self.directory).request.grid)
        return load_summary(self.directory, names) or {}

    @property
    def metrics(self) -> pathlib.Path:
        """The table of metrics, a row per agent and logged update."""
        return self.directory / "metrics.csv"

    @property
    def evaluations(self) -> pathlib.Path:
        """The table of evaluations while training, if it was given `eval_every`."""
        return self.directory / "evaluations.csv"

    @property
    def trained(self) -> list[Any]:
        """Its groups of agents, with `config`, `experiment`, `agents` and `params`."""
        from pgjax.app.play.evaluate_run import load

        return list(load(self.directory))

    @property
    def best(self) -> list[Any]:
        """The same with the best parameters, if it was given `eval_every`."""
        from pgjax.app.play.evaluate_run import load

        return list(load(self.directory, "best"))


class Study(NamedTuple):
    """A study that is complete: runs of several algorithms and environments."""

    directory: pathlib.Path

    @property
    def runs(self) -> dict[tuple[str, str], Run]:
        """The run of each algorithm on each environment, by their names."""
        from pgjax.app.runs.results import STUDY
        from pgjax.app.runs.study_record import load_asked
        from pgjax.app.settings.cells import cells_of

        cells = cells_of(load_asked(self.directory / STUDY))
        return {(x.algorithm, x.env): Run(self.directory / x.name) for x in cells}

    @property
    def summary(self) -> dict[str, Any]:
        """What each agent came to: rows as of a run, with `algorithm` and `env`."""
        rows = [
            {"algorithm": algorithm, "env": env, **row}
            for (algorithm, env), run in self.runs.items()
            for row in run.summary["agents"]
        ]
        return {"agents": rows}


@overload
def train(algorithm: list[str] | tuple[str, ...], **options: Any) -> Study: ...


@overload
def train(
    algorithm: str | None = None,
    *,
    env: list[str] | tuple[str, ...],
    **options: Any,
) -> Study: ...


@overload
def train(algorithm: str | None = None, **options: Any) -> Run: ...


def train(
    algorithm: str | list[str] | tuple[str, ...] | None = None,
    *,
    preset: str | None = None,
    config: str | None = None,
    resume: str | None = None,
    out: str | None = None,
    agents_at_once: int | None = None,
    log: tuple[Logger, ...] | None = None,
    quiet: bool = False,
    checkpoint_every: float = EVERY,
    devices: int | None = None,
    distributed: bool = False,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    **settings: Any,
) -> Run | Study:
    """Trains agents, evaluates them, and leaves a run directory.

    It is `pgjax train`, and gives the same bits if JAX has not been used before. It
    sets JAX up as the command does, for the rest of the process: a device per core of a
    CPU, less optimization of what is compiled, which is kept in ~/.cache/pgjax; what
    XLA_FLAGS and JAX_COMPILATION_CACHE_DIR say comes first. Progress is shown on
    stderr, or in the notebook.

    Args:
      algorithm: the name of one in `pgjax.algorithms` (default: reinforce). A list of
        several, or of environments as `env`, makes a study: a run for each pair.
      preset: named settings (default: the environment's own, or general).
      config: a run in a TOML file, or the config.json of one; what is given beside it
        comes first.
      resume: go on with a run that was stopped, or with more seeds, values or steps.
      out: the run directory to make (default: runs/...).
      agents_at_once: agents that train side by side (default: as many as memory holds).
      log: where metrics go beside metrics.csv; none: not even there.
      quiet: print only errors.
      checkpoint_every: seconds from one checkpoint to the next.
      devices: how many to use (default: all).
      distributed: be one of several processes, each started with this same command;
        Slurm, Open MPI and TPU pods say which, otherwise:
      coordinator: HOST:PORT of the first process, without default.
      num_processes: how many there are, without default.
      process_id: which one this is, from 0, without default.
      **settings: those of the run and its algorithm, as the flags of `pgjax train` have
        them. A list of values makes a grid: every combination is trained, for every
        seed. Widths of layers are a tuple, or a list of tuples. In a study, a setting
        goes to the runs in which it does something.

    Returns:
      The run, or the study, which is complete.

    Raises:
      UsageError: for what cannot be, before any long work.
      KeyboardInterrupt: if it was stopped, with how to go on from what was saved.
    """
    from pgjax.app.prepare_jax import prepare_jax
    from pgjax.app.runs import signals
    from pgjax.app.runs.progress import begin_again
    from pgjax.app.runs.study_record import is_study
    from pgjax.app.settings.notation import spelled_as_python

    given = {**locals()}
    own = {k: x for k, x in inspect.signature(train).parameters.items() if k in given}
    options = {
        name: as_plain(given[name])
        for name, parameter in own.items()
        if name != "settings" and given[name] is not parameter.default
    }
    for name in ("config", "resume", "out"):
        if isinstance(options.get(name), os.PathLike):
            options[name] = os.fspath(options[name])
    _check_types(options)
    settings = {name: as_plain(x) for name, x in settings.items()}
    prepare_jax()
    begin_again()
    try:
        with spelled_as_python():
            directory, code = run_command("train", {**options, **settings})
        if code >= 128:
            raise signals.Stopped(code - 128, "stopped", directory)
    except signals.Stopped as stopped:
        again = f"pgjax.app.train(resume={str(stopped.directory)!r})"
        raise KeyboardInterrupt(stopped.told(again)) from None
    return Study(directory) if is_study(directory) else Run(directory)


def as_plain(value: Any) -> Any:
    """A value of Python's own types: for arrays and numbers of NumPy and JAX, too."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, dict):
        return {key: as_plain(x) for key, x in value.items()}
    if isinstance(value, list | range):
        return [as_plain(x) for x in value]
    if isinstance(value, tuple):
        return tuple(as_plain(x) for x in value)
    return value


def _check_types(options: dict[str, Any]) -> None:
    """Raises UsageError for an argument of `train` of another type than it takes."""
    if isinstance(options.get("log"), str):
        options["log"] = (options["log"],)
    texts = "preset", "coordinator", "config", "resume", "out"
    kinds: dict[str, tuple[type, ...]] = dict.fromkeys(texts, (str,))
    kinds |= {"quiet": (bool,), "distributed": (bool,), "log": (tuple, list)}
    kinds |= {"checkpoint_every": (int, float), "algorithm": (str, list, tuple)}
    for name, value in options.items():
        if name in kinds and not isinstance(value, kinds[name]):
            kind = " or ".join(kind.__name__ for kind in kinds[name])
            raise UsageError(f"{name} must be {kind}, got {value!r}")


def run_command(command: str, given: Mapping[str, Any]) -> tuple[pathlib.Path, int]:
    """Trains as the command line says; returns the run's directory and an exit code.

    Args:
      command: its name, which all of several processes must agree on.
      given: what was given, by name, and nothing else.

    Raises:
      UsageError: for what cannot be, before any long work.
      Stopped: if it was stopped at once; the exit code tells of other stops.
    """
    from pgjax.app.runs import signals

    try:
        return _run_command(command, given)
    except signals.Stopped:
        raise
    except KeyboardInterrupt as interrupt:  # outside of a new directory
        resumed = given.get("resume")
        directory = None if resumed is None else pathlib.Path(resumed)
        when = signals.NOT_BEGUN if directory is None else "stopped"
        number = signals.number_of(interrupt)
        raise signals.Stopped(number, when, directory) from None


def _run_command(command: str, given: Mapping[str, Any]) -> tuple[pathlib.Path, int]:
    from pgjax.app.runs import start_and_resume, study
    from pgjax.app.runs.hosts import from_first
    from pgjax.app.runs.study_record import is_study
    from pgjax.app.settings.cells import make_asked
    from pgjax.app.settings.config_file import read_config
    from pgjax.app.settings.notation import spelled_as_file

    left = dict(given)
    execution = Execution(**_taken(left, *Execution._fields))
    check(execution)
    resumed = left.pop("resume", None)
    for name in ("out", "log", "config"):
        if resumed is not None and name in given:
            flag = name.replace("_", "-")
            raise UsageError(
                f"--resume goes on as {resumed} was started, without --{flag}"
            )
    _join(left, {"the command": command, **given})
    if resumed is not None:
        directory = pathlib.Path(resumed)
        several = from_first(lambda: is_study(directory))
        goes_on = study.resume if several else start_and_resume.resume
        return directory, goes_on(directory, left, execution)
    own = _taken(left, "out", "agents_at_once")
    recorded: dict[str, Any] = {}
    asked, in_file = left, set[str]()
    if path := left.pop("config", None):
        file = read_config(pathlib.Path(path))
        asked, recorded = _with_file(file, left)
        if "log" not in given:
            execution = execution._replace(log=file.log)
        own.setdefault("agents_at_once", file.agents_at_once)
        in_file = {*file.settings, "log", "algorithm", "preset"}
    about = {"algorithm": "reinforce", "preset": "default"}
    algorithm, preset = (
        asked.pop(name, recorded.pop(name, about[name])) for name in about
    )
    with spelled_as_file(pathlib.Path(path or ""), in_file, set(given)):
        if not (_is_list(algorithm) or _is_list(asked.get("env"))):
            more: dict[str, Any] = {"recorded": recorded, **own}
            return start_and_resume.start(algorithm, preset, asked, execution, **more)
        if recorded:
            raise UsageError(
                f"{path} is of one run: leave out several algorithms and environments, "
                "or name its settings themselves"
            )
        envs = _listed(asked.pop("env", []))
        at_once = own.pop("agents_at_once", None)
        wanted = make_asked(
            _listed(algorithm), envs, preset, asked, execution.log, at_once
        )
        return study.start(wanted, execution, **own)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _listed(value: Any) -> list[Any]:
    return list(value) if _is_list(value) else [value]


def _taken(given: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: given.pop(name) for name in names if name in given}


def _with_file(
    file: ConfigFile, given: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is asked for, and what a run's record says besides."""
    if not file.recorded:
        return {**file.settings, **given}, {}
    from pgjax.app.settings.run_settings import OF_ONE_ENV

    # Many a setting of a record has no effect, which is told of what is asked for only.
    rest = {name: x for name, x in file.settings.items() if name not in given}
    if given.get("env", rest.get("env")) != file.settings.get("env"):
        other = OF_ONE_ENV | {"preset"}
        rest = {k: x for k, x in rest.items() if k.partition(".")[0] not in other}
        rest["preset"] = "general"
    return given, rest


def _join(left: dict[str, Any], asked: Mapping[str, Any]) -> None:
    """Becomes one of several processes that do the same, if that is asked for.

    Args:
      left: the arguments that are left; those of this are taken out.
      asked: all of them.

    Raises:
      UsageError: if it cannot, or is told which one to be and not to be one.
    """
    from pgjax.app.runs import hosts

    names = "coordinator", "num_processes", "process_id"
    which = _taken(left, *names)
    if left.pop("distributed", False):
        hosts.join(*(which.get(name) for name in names))
        own = "process_id", "quiet"
        hosts.check_agreement({k: x for k, x in asked.items() if k not in own})
    elif which:
        flag = min(which).replace("_", "-")
        raise UsageError(f"--{flag} goes with --distributed")
