"""Options read off signatures, annotations and docstrings."""

from typing import Any, Literal

import pytest

import pgjax.algorithms
from pgjax.app.settings.run_settings import Config, run_options
from pgjax.app.settings.signature_options import Option, algorithm_options, options_of
from pgjax.types import Numeric


def factory(
    network: Any,
    *,
    rate: Numeric = 0.5,
    bound: Numeric | None = None,
    rounds: int | None = 3,
    flag: bool = False,
    mode: Literal["fast", "slow"] = "slow",
    widths: tuple[int, ...] = (4, 5),
    settings: dict | None = None,
    guessed=7,
    callback: Any = print,
):
    """Makes nothing.

    Args:
      network: positional, and so no option.
      rate: how fast,
        in units.
      bound: none or more.
      mode: one of: several.

    Returns:
      rounds: not an argument's line.
    """


def test_types_defaults_and_choices_follow_the_annotations():
    options = options_of(factory)
    assert options == {
        "rate": Option(float, 0.5, "how fast, in units"),
        "bound": Option(float, None, "none or more", optional=True),
        "rounds": Option(int, 3, "", optional=True),
        "flag": Option(bool, False, ""),
        "mode": Option(str, "slow", "one of: several", ("fast", "slow")),
        "widths": Option(int, (4, 5), "", several=True),
        "settings": Option(dict, None, "", optional=True),
        "guessed": Option(int, 7, ""),
    }
    assert options["widths"].kind == "ints"
    assert options["bound"].kind == "float or none"


def test_a_baseline_is_chosen_by_name():
    option = algorithm_options("reinforce")["baseline"]
    assert option.default == "none"
    assert "leave_one_out" in option.choices


def test_names_that_a_factory_knows_are_choices():
    ppo = algorithm_options("ppo")
    assert ppo["normalize_over"].choices == ("minibatch", "batch")
    assert algorithm_options("reinforce")["reduction"].choices == (
        "episodes",
        "steps",
        "sum",
    )


@pytest.mark.parametrize("algorithm", pgjax.algorithms.__all__)
def test_every_option_has_help_and_no_name_twice(algorithm):
    shared, own = run_options(), algorithm_options(algorithm)
    assert not shared.keys() & own.keys()
    assert all(option.help for option in (*shared.values(), *own.values()))
    assert Config.__doc__
