"""Every number of every command: what cannot be is refused in one line, at once."""

import re

import pytest

from pgjax import algorithms
from pgjax.app.cli import main
from pgjax.app.command_line import TRAINING, parser_of
from pgjax.app.errors import UsageError
from pgjax.app.play import evaluate_run
from pgjax.app.runs import start_and_resume as runs
from pgjax.app.settings import ranges
from pgjax.app.training_words import Named
from pgjax.bench import command

TEXTS = (
    *("0", "-1", str(2**31 - 1), str(2**31), str(2**63), "1e30", "1e400", "nan"),
    *("inf", "-inf", "1_000", "0x10", "", " ", "1.5", "9" * 5000, "1e39", "1e-50"),
)
# Never a number, whatever the flag.
NEVER = ("1e400", "nan", "inf", "-inf", "0x10", "", " ", "9" * 5000)
# What float32 has no number for; those that are not computed with may be.
BEYOND_FLOAT32 = ("1e39", "1e-50")
OF_THE_HOST = ("--checkpoint-every",)
COMMANDS = {
    **{f"train {name}": ["train", name] for name in algorithms.__all__},
    "sweep ppo": ["sweep", "ppo"],
    "bench": ["bench", "ppo"],
    "evaluate": ["evaluate", "run"],
    "render": ["render", "run"],
    "export": ["export", "run"],
}


class AcceptedError(Exception):
    """A command got as far as its work."""


def accept(*_, **__):
    raise AcceptedError


@pytest.fixture(autouse=True)
def stop_before_work(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "make_plan", accept)
    monkeypatch.setattr(evaluate_run, "load", accept)
    monkeypatch.setattr(command, "_trace", accept)


def numeric_flags(arguments):
    """The flags of a command that take numbers, and whether those are floats."""
    command, *words = arguments
    parser = parser_of(command, Named.of(words) if command in TRAINING else None)
    return {
        action.option_strings[0]: "float" in action.type.__name__
        for action in parser._actions
        if action.option_strings
        and getattr(action.type, "__name__", "").partition(",")[0] in ("int", "float")
    }


CASES = []
_SHARED = numeric_flags(["train", "ppo"])
_OF_GRIDS = [("sweep ppo", f"--{x}") for x in ("num-envs", "hidden", "clip", "seeds")]
for _command, _arguments in COMMANDS.items():
    for _flag, _real in numeric_flags(_arguments).items():
        # What all algorithms, or train and sweep, share is tried with one of them;
        # values of a grid have other readers.
        again = _command.startswith(("train", "sweep")) and _command != "train ppo"
        if not again or _flag not in _SHARED or (_command, _flag) in _OF_GRIDS:
            CASES.append((_command, _flag, _real))


def outcome(arguments, capsys):
    """Whether a command got to work; otherwise the only line it said."""
    try:
        code = main(arguments)
    except AcceptedError:
        return None
    except SystemExit as stop:
        code = stop.code
    out, told = capsys.readouterr()
    assert code == 2, (arguments, told)
    assert not out
    assert len(told.splitlines()) == 1, told
    assert told.startswith("pgjax")
    return told


def test_there_are_flags_of_every_command():
    assert {name.split()[0] for name, _, _ in CASES} == {
        name.split()[0] for name in COMMANDS
    }
    assert len(CASES) > 45


@pytest.mark.parametrize(("name", "flag", "real"), CASES)
def test_a_number_is_accepted_or_refused_by_its_name(name, flag, real, capsys):
    for text in TEXTS:
        told = outcome([*COMMANDS[name], f"{flag}={text}"], capsys)
        refused = text in NEVER
        refused |= real and text in BEYOND_FLOAT32 and flag not in OF_THE_HOST
        refused |= not real and text in ("1e30", "1.5", str(2**63), *BEYOND_FLOAT32)
        assert not refused or told, text
        if told:
            assert re.search(rf"{flag}\b", told), told
            assert len(told) < 400


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("num_envs", 2**24 + 1, "--num-envs must be at most 16777216, got 16777217"),
        ("seeds", 2**24, "--seeds must be at most 1048576, got 16777216"),
        ("max_backtracks", -1, "--max-backtracks must be 0 or more, got -1"),
        ("hidden", 10**40, r"got 100000\.\.\. \(41 digits\)"),
    ],
)
def test_an_integer_is_told_what_fits(name, value, says):
    with pytest.raises(UsageError, match=says):
        ranges.check_int(name, value)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("learning_rate", 1e-50, "--learning-rate 1e-50 would be 0 in float32"),
        ("solved_return", -1e39, "--solved-return must be at most 3.403e"),
        ("learning_rate", 10**400, "largest float32, got 100000"),
        ("value_coefficient", float("inf"), "--value-coefficient must be finite"),
        ("gamma", float("nan"), r"--gamma must be in \[0, 1\], got nan"),
    ],
)
def test_a_float_is_one_of_float32(name, value, says):
    with pytest.raises(UsageError, match=says):
        ranges.check_float(name, value)


@pytest.mark.parametrize(
    "value", ["1e39", "1e-50", "10001", "-10001", "[1e39]", '{"x":10001}', "9" * 40]
)
def test_an_option_of_the_environment_is_a_number_of_jax(value, capsys):
    told = outcome(["train", "--env-arg", f"wings={value}"], capsys)
    assert "--env-arg" in told


def test_an_environment_may_have_any_seed(capsys):
    arguments = ["train", "--env-arg", "wings=10000", "mapping_seed=2147483647"]
    assert outcome(arguments, capsys) is None


def test_a_grid_is_no_larger_than_a_summary(capsys):
    arguments = ["sweep", "ppo", "--seeds", "1e6", "--clip", "0.1", "0.2"]
    told = outcome(arguments, capsys)
    assert "take --seeds 524288 at most" in told
    assert outcome([*arguments[:3], "524288", *arguments[4:]], capsys) is None
