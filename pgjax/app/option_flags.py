"""Flags of options: those of a command, and the settings of a run."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from typing import Any

from pgjax.app.argument_types import NamedValues, Parameters, reader_of
from pgjax.app.parser import Parser
from pgjax.app.training_words import Named


def add_training(
    parser: Parser, named: Named, options: dict[str, Any], *, grid: bool
) -> None:
    """The flags of how it is done, of every setting, and of the algorithm."""
    from pgjax import algorithms
    from pgjax.app.settings.presets import PRESETS, choose_preset
    from pgjax.app.settings.run_settings import run_options
    from pgjax.app.settings.signature_options import algorithm_options

    defaults: dict[str, Any] | None = None  # they differ within a study
    if named.one:
        env = next(iter(named.envs), None)
        _, defaults = choose_preset(named.algorithms[0], named.preset, env)
    known = ", ".join(
        dict.fromkeys(x for each in named.algorithms for x in PRESETS.get(each, {}))
    )
    text = options["preset"].help.replace(
        "settings", f"settings: {known}; or FILE.toml"
    )
    options["preset"] = options["preset"]._replace(help=text)
    parser.description = (
        f"{parser.description}\n\nALGORITHM is one of {', '.join(algorithms.__all__)} "
        f"(default: {algorithms.__all__[0]})."
    )
    if grid:
        parser.description += (
            "\nSeveral of them, or of environments as --env A B, make a study: a run"
            "\nfor each pair, in one directory."
        )
    add_options(parser, options, None, grid=False)
    group = parser.add_argument_group("the run")
    add_options(group, _shown(run_options(), defaults), defaults or {}, grid=grid)
    done: set[str] = set()
    for algorithm in named.algorithms:
        own = algorithm_options(algorithm)
        own = {name: option for name, option in own.items() if name not in done}
        done |= own.keys()
        group = parser.add_argument_group(f"the algorithm, {algorithm}")
        add_options(group, _shown(own, defaults), defaults or {}, grid=grid)


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


def add_options(
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
