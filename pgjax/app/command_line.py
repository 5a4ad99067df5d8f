"""The command line: each command is a function, whose signature says its flags.

Annotations give the types, docstrings the help. Those of `train` and `sweep` are also
the settings of a run, and the keyword arguments of the algorithm that is named.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import pathlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, NoReturn

from pgjax.app.argument_types import NamedValues, Parameters, reader_of
from pgjax.app.shown_names import one_line


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
        "pgjax.app.training:train", "train agents, several seeds side by side", _TRAIN
    ),
    "sweep": Command(
        "pgjax.app.training:train",
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
_TAKE_A_NAME = "--preset", "--env", "--resume", "--config", "--out"
_AFTER = [[flag] for flag in _TAKE_A_NAME]  # where a word is no algorithm
_LONG = 240  # characters of a message, beyond which its middle is left out


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def __init__(self, **options: Any):
        super().__init__(
            **options,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
        )

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
        return value if action.nargs in (None, "?") else [value]


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
            parser.error(_about_unknown(unknown, parser, given))
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


class Named(NamedTuple):
    """What the flags of training depend on: known before they can be read."""

    about: dict[str, Any]  # the algorithm, or several, if they were named
    algorithms: list[str]
    preset: str
    envs: list[str]
    rest: list[str]  # all other words

    @property
    def one(self) -> bool:
        """Whether it is a run, and no study."""
        return len(self.algorithms) == 1 and len(self.envs) <= 1

    @classmethod
    def of(cls, words: list[str], *, grid: bool = False) -> Named:
        """Finds the algorithm, wherever it stands, the preset and the environment.

        Args:
          words: of the command line.
          grid: whether there may be several algorithms and environments.

        Raises:
          UsageError: for an algorithm that there is not.
        """
        from pgjax.app.settings.signature_options import algorithm_factory

        looking = Parser(prog="pgjax", add_help=False)
        for flag in _TAKE_A_NAME:
            looking.add_argument(flag, nargs="*" if flag == "--env" else "?")
        known, _ = looking.parse_known_args(words)
        told = {k: x for k, x in vars(known).items() if x is not None}
        places = [
            i
            for i, word in enumerate(words)
            if _is_algorithm(word) and words[i - 1 : i] not in _AFTER
        ]
        places = places if grid else places[:1]
        algorithms = [words[i] for i in places]
        about: dict[str, Any] = {"algorithm": algorithms} if places[1:] else {}
        if len(algorithms) == 1:
            about = {"algorithm": algorithms[0]}
        if words and not words[0].startswith("-"):  # told before its options are
            first = _other_words(words) if grid else words[:1]
            for word in first if grid or not places else ():
                algorithm_factory(word)
        found = {**_of_files(told), **told, **about}
        return cls(
            about,
            _several(found.get("algorithm", "reinforce")),
            found.get("preset", "default"),
            [x for x in _several(found.get("env", [])) if not _is_algorithm(x)],
            [word for i, word in enumerate(words) if i not in places],
        )


def _several(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _other_words(words: list[str]) -> list[str]:
    """Those before the first flag, which must be algorithms."""
    flags = [i for i, word in enumerate(words) if word.startswith("-")]
    return words[: min(flags, default=len(words))]


def _is_algorithm(word: str) -> bool:
    from pgjax import algorithms

    return word in algorithms.__all__


def _of_files(told: Mapping[str, str]) -> dict[str, Any]:
    """The algorithm of a run that is resumed, or of a file, where one can tell."""
    from pgjax.app.errors import UsageError
    from pgjax.app.runs.results import STUDY
    from pgjax.app.runs.run_record import algorithm_of
    from pgjax.app.settings.config_file import read_config
    from pgjax.app.settings.signature_options import algorithm_factory

    try:
        file = pathlib.Path(told["config"]) if "config" in told else None
        if "resume" in told:
            file = pathlib.Path(told["resume"]) / STUDY
            if not file.is_file():
                return {"algorithm": algorithm_of(file.parent)}
        if file is not None:
            settings = read_config(file).settings
            for algorithm in _several(settings.get("algorithm", "reinforce")):
                algorithm_factory(algorithm)
            names = "algorithm", "preset", "env"
            return {name: settings[name] for name in names if name in settings}
    except UsageError:
        pass  # whoever opens it will say what is wrong
    return {}


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
        _add_training(parser, named, options_of(function), grid=command == "sweep")
        return parser
    for name, (several, default, text) in arguments_of(function).items():
        nargs: Any = {False: None, True: "*" if default is not None else "+"}[several]
        metavar = name.removesuffix("s").upper() if several else None
        parser.add_argument(name, nargs=nargs, metavar=metavar, help=text)
    _add_options(parser, options_of(function), None, grid=False)
    return parser


def _add_training(
    parser: Parser, named: Named, options: dict[str, Any], *, grid: bool
) -> None:
    """The flags of how it is done, of every setting, and of the algorithm."""
    from pgjax import algorithms
    from pgjax.app.settings.config import run_options
    from pgjax.app.settings.presets import PRESETS, choose_preset
    from pgjax.app.settings.signature_options import algorithm_options

    defaults: dict[str, Any] | None = None  # they differ within a study
    if named.one:
        env = next(iter(named.envs), None)
        _, defaults = choose_preset(named.algorithms[0], named.preset, env)
    known = ", ".join(
        dict.fromkeys(x for each in named.algorithms for x in PRESETS.get(each, {}))
    )
    text = options["preset"].help.replace("settings", f"settings: {known}")
    options["preset"] = options["preset"]._replace(help=text)
    parser.description = (
        f"{parser.description}\n\nALGORITHM is one of {', '.join(algorithms.__all__)} "
        f"(default: {algorithms.__all__[0]})"
        f"{', or several of them' if grid else ''}."
    )
    _add_options(parser, options, None, grid=False)
    group = parser.add_argument_group("the run")
    _add_options(group, _shown(run_options(), defaults), defaults or {}, grid=grid)
    done: set[str] = set()
    for algorithm in named.algorithms:
        own = algorithm_options(algorithm)
        own = {name: option for name, option in own.items() if name not in done}
        done |= own.keys()
        group = parser.add_argument_group(f"the algorithm, {algorithm}")
        _add_options(group, _shown(own, defaults), defaults or {}, grid=grid)


def _shown(options: Mapping[str, Any], defaults: Any) -> Mapping[str, Any]:
    """Options whose help says what each preset has, where there are several."""
    if defaults is not None:
        return options
    return {
        name: option._replace(
            default=None, help=f"{option.help} (default: the preset's)"
        )
        for name, option in options.items()
    }


def _add_options(
    group: Any, options: Mapping[str, Any], preset: dict[str, Any] | None, *, grid: bool
) -> None:
    """Flags for options; those of a run may have other defaults in its preset."""
    from pgjax.app.settings.grid import ONE_VALUE

    for name, option in options.items():
        several = option.many or (grid and (name not in ONE_VALUE or name == "env"))
        default = (preset or {}).get(name, option.default)
        if option.type is bool and not default and preset is None:
            flag = "--" + name.replace("_", "-")
            group.add_argument(flag, action="store_true", help=option.help)
            continue
        _add_option(group, name, option, default, several)


def _add_option(
    group: Any, name: str, option: Any, default: Any, several: bool
) -> None:
    flag, text = "--" + name.replace("_", "-"), option.help.replace("%", "%%")
    if name == "env_param":
        group.add_argument(
            flag, action=partial(Parameters, several=several), nargs="+", help=text
        )
        return
    if option.type is dict:
        group.add_argument(flag, action=NamedValues, nargs="+", help=text)
        return
    if option.type is bool:
        if "(default" not in text:
            text += f" (default: {'yes' if default else 'no'})"
        if not several:  # a preset may have turned it on
            action = argparse.BooleanOptionalAction
            group.add_argument(flag, action=action, help=text)
            return
        group.add_argument(
            flag.replace("--", "--no-", 1),
            dest=name,
            action="store_const",
            const=False,
            help=argparse.SUPPRESS,
        )
    elif default not in (None, ()):
        shown = default
        if option.several:
            shown = ("," if option.type is int else " ").join(map(str, default))
        text += f" (default: {shown})" if "default" not in text else ""
    elif option.optional and "none" not in text and "default" not in text:
        text += " (default: none)"
    named = option.choices or option.type is str
    metavar = None if named else option.type.__name__.upper()
    widths = option.several and option.type is int  # 64,64 is one value
    if option.several and (several or widths):
        metavar = f"{metavar},{metavar}"
    group.add_argument(
        flag,
        type=reader_of(option, grid=several),
        choices=option.choices or None,
        metavar="YES/NO" if option.type is bool else metavar,
        nargs="+" if several or (option.several and not widths) else None,
        help=text.removesuffix(", without default"),
    )


def _about_unknown(unknown: list[str], parser: Parser, named: Named | None) -> str:
    """Whose option it is, where it is one of another algorithm; or which was meant."""
    from pgjax import algorithms
    from pgjax.app.settings.signature_options import (
        algorithm_options,
        familiar,
        nearest,
    )

    flag = unknown[0].partition("=")[0]
    name = flag.removeprefix("--").removeprefix("no-").replace("-", "_")
    everyone = {x for a in algorithms.__all__ for x in algorithm_options(a)}
    meant = name if name in everyone else familiar(name)
    owners = [x for x in algorithms.__all__ if meant in algorithm_options(x)]
    told = f"unrecognized arguments: {' '.join(unknown)}"
    if not flag.startswith("--"):
        before = _flag_before(unknown[0], named.rest if named else [])
        if named is not None and (_is_algorithm(flag) or before == "--env"):
            what = "environments" if before == "--env" else "algorithms"
            return f"{told}; `pgjax sweep` takes several {what}"
        if before == "--hidden":
            return f"{told}; --hidden has one value here: layers are written as 32,32"
        return f"{told}; {before} has one value here" if before else told
    if named is not None and owners and meant != name:
        who = _listed(owners)
        if not {*named.algorithms} & {*owners}:
            verb = "has" if len(owners) == 1 else "have"
            return f"{told}; it is {_flag(meant)}, which {who} {verb}"
    elif named is not None and owners:
        verb = "has" if len(owners) == 1 else "have"
        who = _listed(owners)
        ours = _listed(named.algorithms)
        have = "have" if named.algorithms[1:] else "has"
        return f"{ours} {have} no option {flag}, which {who} {verb}"
    names = {action.dest for action in parser._actions}
    found = nearest(name, names)
    return f"{told}; perhaps {_flag(found)} is meant" if found else told


def _listed(names: list[str]) -> str:
    """Names in a sentence: a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _flag_before(word: str, words: list[str]) -> str | None:
    """The flag that a word follows, if it does."""
    if word not in words:
        return None
    flags = [x for x in words[: words.index(word)] if x.startswith("--")]
    return flags[-1] if flags else None
