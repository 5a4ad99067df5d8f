"""The words of `pgjax train` and `sweep` that say which flags there are."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from pgjax.app.parser import Parser

_TAKE_A_NAME = "--preset", "--env", "--resume", "--config", "--out"
_AFTER = [[flag] for flag in _TAKE_A_NAME]  # where a word is no algorithm


class Named(NamedTuple):
    """What the flags of training depend on: known before they can be read."""

    about: dict[str, Any]  # the algorithm, or several, if they were named
    algorithms: list[str]
    preset: Any  # a name, or what was read from a user's file
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
            if is_algorithm(word) and words[i - 1 : i] not in _AFTER
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
            [x for x in _several(found.get("env", [])) if not is_algorithm(x)],
            [word for i, word in enumerate(words) if i not in places],
        )


def _several(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _other_words(words: list[str]) -> list[str]:
    """Those before the first flag, which must be algorithms."""
    flags = [i for i, word in enumerate(words) if word.startswith("-")]
    return words[: min(flags, default=len(words))]


def is_algorithm(word: str) -> bool:
    """Whether a word is the name of an algorithm."""
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
