"""The arguments of the `pgjax` command, read off the algorithms and the config."""

from __future__ import annotations

import argparse
import itertools
import pathlib
from typing import Any, NoReturn

from pgjax.app.argument_types import Collect, NamedValues, count, reader_of, widths
from pgjax.app.shown_names import one_line

_EPILOG = """examples:
  pgjax train                                     REINFORCE on CartPole, 8 seeds
  pgjax train reinforce --preset article          the article's recipe, to the letter
  pgjax train ppo --env Pendulum-v1               another algorithm and environment
  pgjax sweep ppo --learning-rate 0.001 0.003     combinations x seeds, in one table
  pgjax report RUN RUN                            intervals, tests and figures to send
  pgjax evaluate RUN --backend gymnasium          the same policies in the real thing
  pgjax bench --quick                             how fast it trains here, and why
  pgjax render RUN                                a GIF of what was learned
"""


_LONG = 240  # characters of a message, beyond which its middle is left out


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Prints the message, and the way to help; exits with code 2."""
        if len(message) > _LONG:  # it repeats what was given
            message = f"{message[: _LONG // 2]} ... {message[-_LONG // 2 :]}"
        message = one_line(message)
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """The values of an argument; Python 3.11 takes away that of `--out=--`."""
        if not action.option_strings or arg_strings != ["--"]:
            return super()._get_values(action, arg_strings)
        value = self._get_value(action, "--")
        self._check_value(action, value)
        return value if action.nargs is None else [value]


def algorithm_first(arguments: list[str]) -> list[str]:
    """The arguments of `train`, with the algorithm's name before its options."""
    from pgjax import algorithms

    if arguments[:1] not in (["train"], ["sweep"]):
        return arguments
    for i, argument in enumerate(arguments[1:], 1):
        if argument in algorithms.__all__ and arguments[i - 1] not in _TAKE_A_NAME:
            return [arguments[0], argument, *arguments[1:i], *arguments[i + 1 :]]
    return arguments


_TAKE_A_NAME = ("--out", "--preset", "--env", "--resume")


def about_unknown(unknown: list[str], namespace: argparse.Namespace) -> str:
    """Says whose option it is, where it is an option of another algorithm."""
    from pgjax import algorithms
    from pgjax.app.settings.signature_options import algorithm_options

    algorithm = getattr(namespace, "algorithm", algorithms.__all__[0])
    flag = unknown[0].partition("=")[0]
    name = flag.removeprefix("--").removeprefix("no-").replace("-", "_")
    owners = [other for other in algorithms.__all__ if name in algorithm_options(other)]
    if (
        namespace.command not in ("train", "sweep")
        or not flag.startswith("--")
        or not owners
    ):
        return f"unrecognized arguments: {' '.join(unknown)}"
    verb = "has" if len(owners) == 1 else "have"
    return f"{algorithm} has no option {flag}, which {' and '.join(owners)} {verb}"


def make_parser(arguments: list[str]) -> Parser:
    """The parser of these arguments: its options are those of their algorithm."""
    import pgjax

    parser = Parser(
        prog="pgjax",
        description="Policy-gradient methods as pure JAX functions.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=pgjax.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands, arguments)
    _add_sweep(commands, arguments)
    _add_compare(commands)
    _add_report(commands)
    _add_bench(commands)
    _add_evaluate(commands)
    _add_render(commands)
    _add_export(commands)
    commands.add_parser(
        "envs", help="list the environments, with their spaces and presets"
    )
    return parser


def _add_train(commands: Any, arguments: list[str]) -> None:
    train = commands.add_parser(
        "train",
        help="train agents, several seeds side by side",
        description="Trains agents, evaluates them, and leaves a run directory.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    train.add_argument("--out", help="the run directory to make (default: runs/...)")
    train.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with a run that was stopped, or with more --steps",
    )
    _add_settings(train, arguments, grid=False)


def _add_devices(parser: Any) -> None:
    """Where a run is carried out."""
    group = parser.add_argument_group("devices and processes")
    group.add_argument(
        "--devices", type=count, metavar="INT", help="how many to use (default: all)"
    )
    group.add_argument(
        "--distributed",
        action="store_true",
        help="be one of several processes, each started with this same command; Slurm, "
        "Open MPI and TPU pods say which, otherwise:",
    )
    group.add_argument(
        "--coordinator", metavar="HOST:PORT", help="of the first process"
    )
    group.add_argument(
        "--num-processes", type=count, metavar="INT", help="how many there are"
    )
    group.add_argument(
        "--process-id", type=count, metavar="INT", help="which one this is, from 0"
    )


def _add_sweep(commands: Any, arguments: list[str]) -> None:
    sweep = commands.add_parser(
        "sweep",
        help="train every combination of settings for every seed",
        description="Trains every combination of the values given, for every seed. "
        "Values of numbers with a point train in one compiled program; other settings "
        "take a compilation each. Seeds are the same for every combination.",
        epilog="example:\n  pgjax sweep reinforce --seeds 64 "
        "--learning-rate 0.003 0.01 --baseline none leave_one_out\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    sweep.add_argument("--out", help="the directory to make (default: runs/...)")
    sweep.add_argument(
        "--resume", metavar="RUN", help="go on with a sweep that was stopped"
    )
    sweep.add_argument(
        "--agents-at-once",
        type=count,
        metavar="INT",
        help="agents that train side by side (default: as many as memory holds)",
    )
    _add_settings(sweep, arguments, grid=True)


def _add_settings(parser: Any, arguments: list[str], *, grid: bool) -> None:
    """The algorithm, its preset, and every setting; in a grid, with several values."""
    from pgjax import algorithms
    from pgjax.app.runs.loggers import PACKAGES
    from pgjax.app.settings.config import run_options
    from pgjax.app.settings.execution import EVERY
    from pgjax.app.settings.presets import PRESETS, choose_preset
    from pgjax.app.settings.signature_options import (
        algorithm_factory,
        algorithm_options,
    )

    names = algorithms.__all__
    parser.add_argument(
        "algorithm",
        nargs="?",
        help=f"one of {', '.join(names)} (default: {names[0]})",
    )
    own = arguments[:1] == [parser.prog.split()[-1]]
    if own and not "".join(arguments[1:2]).startswith("-"):
        for name in arguments[1:2]:  # a wrong one is told before its options are
            algorithm_factory(name)
    given = [argument for argument in arguments[1:2] if argument in names]
    algorithm = given[0] if given else _resumed_algorithm(arguments) or names[0]
    presets = ", ".join(("general", *PRESETS.get(algorithm, {})))
    parser.add_argument(
        "--preset",
        help=f"named settings: {presets} (default: the environment's own, or general)",
    )
    parser.add_argument(
        "--log",
        nargs="+",
        choices=tuple(PACKAGES),
        help="where metrics go beside metrics.csv; none: not even there",
    )
    parser.add_argument("--quiet", action="store_true", help="print only errors")
    parser.add_argument(
        "--checkpoint-every",
        type=float,
        metavar="SECONDS",
        help=f"from one checkpoint to the next (default: {EVERY:g})",
    )
    _add_devices(parser)
    # The defaults that --help shows are those of the preset and environment given.
    preset = _given(arguments, "--preset") or "default"
    known = own or arguments[:1] not in (["train"], ["sweep"])
    env = _given(arguments, "--env") if known else None
    _, defaults = choose_preset(algorithm, preset if known else "default", env)
    group = parser.add_argument_group("the run")
    _add_options(group, run_options(), defaults, grid=grid)
    group = parser.add_argument_group(f"the algorithm, {algorithm}")
    _add_options(group, algorithm_options(algorithm), defaults, grid=grid)


def _resumed_algorithm(arguments: list[str]) -> str | None:
    """The algorithm of the run that is to be resumed, where one can tell."""
    from pgjax.app.errors import UsageError
    from pgjax.app.runs.run_record import algorithm_of

    run = _given(arguments, "--resume")
    try:
        return None if run is None else algorithm_of(pathlib.Path(run))
    except UsageError:
        return None  # whoever opens it will say what is wrong


def _given(arguments: list[str], flag: str) -> str | None:
    """The value of a flag, as far as one can tell before the arguments are parsed."""
    for argument, following in itertools.zip_longest(arguments, arguments[1:]):
        if argument == flag:
            return following
        if argument.startswith(f"{flag}="):
            return argument.partition("=")[2]
    return None


def _add_options(
    group: Any, options: dict, defaults: dict[str, Any], *, grid: bool
) -> None:
    from pgjax.app.settings.grid import ONE_VALUE

    for name, option in options.items():
        flag = "--" + name.replace("_", "-")
        default = defaults.get(name, option.default)
        text = option.help.replace("%", "%%")
        several = grid and name not in ONE_VALUE
        if option.type is bool:
            text += f" (default: {'yes' if default else 'no'})"
            if not several:
                action = argparse.BooleanOptionalAction
                group.add_argument(flag, action=action, help=text)
                continue
        elif option.type is dict:
            group.add_argument(flag, action=NamedValues, nargs="+", help=text)
            continue
        elif default is not None:
            shown = " ".join(map(str, default)) if option.several else default
            text += f" (default: {shown})"
        elif option.optional and "none" not in text and "default" not in text:
            text += " (default: none)"
        metavar = None if option.choices else option.type.__name__.upper()
        if several and option.several:
            metavar = f"{metavar},{metavar}"
        group.add_argument(
            flag,
            type=reader_of(option, grid=several),
            choices=option.choices or None,
            metavar="YES/NO" if option.type is bool else metavar,
            nargs="+" if option.several or several else None,
            action=Collect if several else "store",
            help=text,
        )


def _add_compare(commands: Any) -> None:
    compare = commands.add_parser(
        "compare",
        help="runs side by side, with intervals and tests",
        description="Prints what runs and sweeps came to: interquartile means "
        "(IQM) of the greedy policies' returns, steps to solve with unsolved "
        "agents as censored, and comparisons with the first.",
    )
    compare.add_argument("runs", nargs="+", metavar="RUN", help="a run or a sweep")
    compare.add_argument("--out", metavar="DIRECTORY", help="draws figures there")


def _add_report(commands: Any) -> None:
    report = commands.add_parser(
        "report",
        help="runs side by side, as one HTML file to send",
        description="Writes what `pgjax compare` prints and draws, with an explanation "
        "and every setting, into one HTML file that needs no network.",
    )
    report.add_argument("runs", nargs="+", metavar="RUN", help="a run or a sweep")
    report.add_argument(
        "--out",
        metavar="FILE",
        default="report.html",
        help="the file to write (default: report.html)",
    )


def _add_bench(commands: Any) -> None:
    from pgjax import algorithms

    bench = commands.add_parser(
        "bench",
        help="measure the speed of training, and what limits it",
        description="Measures environment steps per second of whole training steps\n"
        "and of their stages, beside what the machine can do at most. Without an\n"
        "algorithm or a size, it measures the README's table: about 3 minutes on two\n"
        "cores with --quick, 5 without. With them, all combinations, about 30 seconds\n"
        "each.",
        epilog="examples:\n  pgjax bench --quick\n"
        "  pgjax bench ppo --num-envs 64 1024 --against sb3\n"
        "  pgjax bench reinforce --num-envs 1024 --against plain\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    bench.add_argument(
        "algorithms", nargs="*", metavar="ALGORITHM", help=", ".join(algorithms.__all__)
    )
    bench.add_argument(
        "--quick", action="store_true", help="5 repetitions instead of 11"
    )
    sizes: dict[str, tuple[Any, str]] = {
        "--env": (str, "gymnax environments (default: CartPole-v1)"),
        "--num-envs": (count, "environments per agent (default: 1024)"),
        "--num-steps": (
            count,
            "per environment and update (default: REINFORCE: complete episodes, "
            "a2c 32, ppo and trpo 128)",
        ),
        "--num-agents": (count, "agents side by side (default: 1)"),
        "--hidden": (
            widths,
            "widths of the hidden layers, such as 64,64 (default: REINFORCE 128, "
            "others 64,64)",
        ),
        "--precision": (
            str,
            "of the networks' arithmetic, such as bfloat16 (default: float32)",
        ),
    }
    for flag, (reader, text) in sizes.items():
        metavar = reader.__name__.strip("_").upper()
        bench.add_argument(flag, type=reader, nargs="+", metavar=metavar, help=text)
    bench.add_argument(
        "--devices", type=count, metavar="INT", help="how many to use (default: all)"
    )
    bench.add_argument(
        "--rounds",
        type=count,
        metavar="INT",
        help="repetitions of everything (default: 11)",
    )
    bench.add_argument(
        "--no-stages", dest="stages", action="store_false", help="whole steps only"
    )
    bench.add_argument(
        "--against",
        metavar="WHAT",
        help="compare, in turns, with another revision or directory of pgjax, with "
        "plain (how the field writes it), sb3 or sb3-best",
    )
    bench.add_argument("--out", help="the directory to make (default: runs/bench-...)")


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="play complete episodes with a run's policies",
        description="Plays complete episodes with every agent of a run, once greedily "
        "and once with sampled actions.",
    )
    evaluate.add_argument("run", help="a run directory, as made by pgjax train")
    evaluate.add_argument(
        "--backend",
        choices=("gymnax", "gymnasium"),
        default="gymnax",
        help="where to play: as trained, or in the real Gymnasium (default: gymnax)",
    )
    evaluate.add_argument(
        "--episodes",
        type=count,
        metavar="INT",
        default=100,
        help="for each agent (default: 100)",
    )
    evaluate.add_argument(
        "--seed", type=count, metavar="INT", default=0, help="(default: 0)"
    )


def _add_export(commands: Any) -> None:
    export = commands.add_parser(
        "export",
        help="write a run's policy as a file that runs without pgjax",
        description="Writes a run's greedy policy as serialized StableHLO, for CPU, "
        "CUDA and TPU; jax.export.deserialize reads it.",
    )
    export.add_argument("run", help="a run directory, as made by pgjax train")
    export.add_argument(
        "--out", help="the file to write (default: RUN/policy-seedN.jax)"
    )
    _add_agent(export)
    export.add_argument(
        "--sampled",
        action="store_true",
        help="draw actions from the policy; it then takes a seed before observations",
    )


def _add_render(commands: Any) -> None:
    render = commands.add_parser(
        "render",
        help="write a GIF of a run's policy",
        description="Plays one episode in the real Gymnasium and writes it as a GIF.",
    )
    render.add_argument("run", help="a run directory, as made by pgjax train")
    render.add_argument("--out", help="the GIF to write (default: RUN/policy.gif)")
    _add_agent(render)
    render.add_argument(
        "--seed",
        type=count,
        metavar="INT",
        default=0,
        help="of the episode (default: 0)",
    )


def _add_agent(parser: Any) -> None:
    parser.add_argument(
        "--agent",
        type=count,
        metavar="INT",
        help="the agent's seed (default: the run's first)",
    )
