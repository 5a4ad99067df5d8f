"""What to say of words that a command does not know: which were meant."""

from __future__ import annotations

from pgjax.app.parser import Parser
from pgjax.app.training_words import Named, is_algorithm


def about_unknown(unknown: list[str], parser: Parser, named: Named | None) -> str:
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
        if named is not None and (is_algorithm(flag) or before == "--env"):
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
