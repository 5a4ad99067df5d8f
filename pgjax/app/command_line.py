"""The command line: each command is a function, whose signature says its flags.

Annotations give the types, docstrings the help. Those of `train` and `sweep` are also
the settings of a run, and the keyword arguments of the algorithm that is named.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from pgjax.app.option_flags import add_options, add_training
from pgjax.app.parser import Parser
from pgjax.app.training_words import Named
from pgjax.app.unknown_words import about_unknown


class Command(NamedTuple):
    """Where a command's function is, and what it does, in a line."""

    function: str  # module:name
    help: str
    examples: str = ""


_TRAIN = """\
  pgjax train                                     REINFORCE on CartPole, 8 seeds
  pgjax train reinforce --preset article          the article's recipe, to the letter
  pgjax train ppo --env Pendulum-v1               another algorithm and environment
  pgjax train --config runs/a/config.json         a run again, or what a TOML file says
  pgjax sweep ppo --learning-rate 0.001 0.003     combinations x seeds, in one table
"""
_ALL = f"""{_TRAIN}\
  pgjax report RUN RUN                            intervals, tests and figures to send
  pgjax evaluate RUN --backend gymnasium          the same policies in the real thing
  pgjax bench --quick                             how fast it trains here, and why
  pgjax render RUN                                a GIF of what was learned
"""
COMMANDS = {
    "train": Command(
        "pgjax.app.train_command:train",
        "train agents, several seeds side by side",
        _TRAIN,
    ),
    "sweep": Command(
        "pgjax.app.train_command:train",
        "train every combination of settings for every seed",
        "  pgjax sweep reinforce --seeds 64 --learning-rate 0.003 0.01 \\\n"
        "    --baseline none leave_one_out\n"
        "  pgjax sweep ppo a2c --env CartPole-v1 Acrobot-v1     a run for each pair\n"
        "Values of numbers with a point train in one compiled program; other settings\n"
        "take a compilation each. Seeds are the same for every combination.\n",
    ),
    "compare": Command(
        "pgjax.app.analysis.compare:compare",
        "runs side by side, with intervals and tests",
    ),
    "report": Command(
        "pgjax.app.analysis.report:report",
        "runs side by side, as one HTML file to send",
    ),
    "bench": Command(
        "pgjax.bench.command:bench",
        "measure the speed of training, and what limits it",
        "  pgjax bench --quick\n"
        "  pgjax bench ppo --num-envs 64 1024 --against sb3\n"
        "  pgjax bench reinforce --num-envs 1024 --against plain\n"
        "Without an algorithm or a size, it measures the README's table: about 3\n"
        "minutes on two cores with --quick, 5 without. With them, all combinations,\n"
        "about 30 seconds each.\n",
    ),
    "evaluate": Command(
        "pgjax.app.play.evaluate_run:evaluate",
        "play complete episodes with a run's policies",
    ),
    "render": Command(
        "pgjax.app.play.evaluate_run:render", "write a GIF of a run's policy"
    ),
    "export": Command(
        "pgjax.app.play.export:export",
        "write a run's policy as a file that runs without pgjax",
    ),
    "check-env": Command(
        "pgjax.app.play.check_environment:check_env",
        "say what is wrong with an environment, and how fast it is",
        "  pgjax check-env CartPole-v1\n"
        "  pgjax check-env my_module:make --env-arg size=9\n",
    ),
    "envs": Command(
        "pgjax.app.play.list_environments:print_environments",
        "list the environments, with their spaces and presets",
    ),
}
TRAINING = "train", "sweep"


def read(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    """The command, and what was given to it, by name.

    Raises:
      SystemExit: for help, and what cannot be read, which has been told.
      UsageError: for an algorithm or a preset that there is not.
    """
    if arguments[:1] and arguments[0] in COMMANDS:
        command, *words = arguments
        grid = command == "sweep"
        given = Named.of(words, grid=grid) if command in TRAINING else None
        parser = parser_of(command, given)
        words = words if given is None else given.rest
        namespace, unknown = parser.parse_known_args(words)
        if unknown:
            parser.error(about_unknown(unknown, parser, given))
        about = {} if given is None else given.about
        found = {**about, **vars(namespace)}
        if isinstance(env := found.get("env"), list) and len(env) == 1:
            found["env"] = env[0]
        return command, found
    return _main_parser().parse_args(arguments).command, {}


def function_of(command: str) -> Callable[..., int]:
    """What carries out a command."""
    module, _, name = COMMANDS[command].function.partition(":")
    return getattr(importlib.import_module(module), name)


def _main_parser() -> Parser:
    import pgjax

    parser = Parser(
        prog="pgjax",
        description="Policy-gradient methods as pure JAX functions.",
        epilog=f"examples:\n{_ALL}",
    )
    parser.add_argument("--version", action="version", version=pgjax.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.help)
    return parser


def parser_of(command: str, named: Named | None = None) -> Parser:
    """The parser of a command's own words.

    Args:
      command: its name.
      named: what the flags of `train` and `sweep` depend on.
    """
    from pgjax.app.settings.signature_options import arguments_of, options_of

    function, examples = function_of(command), COMMANDS[command].examples
    description = (inspect.getdoc(function) or "").split("\n\n")[0]
    if command == "sweep":
        description = "Trains every combination of the values given, for every seed."
    parser = Parser(
        prog=f"pgjax {command}",
        usage=f"pgjax {command} [ALGORITHM] [FLAG ...]" if named else None,
        description=description,
        epilog=f"examples:\n{examples}" if examples else None,
    )
    if named is not None:
        add_training(parser, named, options_of(function), grid=command == "sweep")
        return parser
    for name, (nargs, text) in arguments_of(function).items():
        metavar = name.removesuffix("s").upper() if nargs else None
        parser.add_argument(name, nargs=nargs, metavar=metavar, help=text)
    add_options(parser, options_of(function), None, grid=False)
    return parser
