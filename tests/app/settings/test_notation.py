"""Settings in messages, as they were written."""

import pathlib

import pytest

from pgjax import algorithms
from pgjax.app.errors import DamagedFileError, OutOfMemoryError, UsageError
from pgjax.app.runs.progress import Reporter
from pgjax.app.settings.notation import as_python, spelled_as_file, spelled_as_python
from pgjax.app.settings.run_settings import run_options
from pgjax.app.settings.signature_options import _MEANT, algorithm_options


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("--seeds must be int, got '3'", "seeds must be int, got '3'"),
        ("take --steps 1e6 at most.", "take steps=1e6 at most."),
        ("--gamma 0.9, --lam 1", "gamma=0.9, lam=1"),
        ("or --no-anneal-learning-rate", "or anneal_learning_rate=False"),
        ("--num-envs x --num-steps = 64", "num_envs x num_steps = 64"),
        ("--hidden 5 8,8 (the run: 4)", "hidden=5 8,8 (the run: 4)"),
        ("--hidden 8,8 is", "hidden 8,8 is"),
        ("runs/--seeds is a file", "runs/--seeds is a file"),
        ("got '--seeds'", "got '--seeds'"),
        (
            "to go on:\n    pgjax train --resume 'my run'",
            "to go on:\n    pgjax.app.train(resume='my run')",
        ),
        (
            "`pgjax sweep --resume a-b` goes on, --seeds too",
            "pgjax.app.train(resume='a-b') goes on, seeds too",
        ),
        ("`pgjax evaluate RUN --which best`", "`pgjax evaluate RUN --which best`"),
    ],
)
def test_flags_are_arguments_in_python(text, python):
    assert as_python(text) == python


def test_the_kind_of_an_error_stays():
    with (
        pytest.raises(DamagedFileError, match="a is damaged: seeds"),
        spelled_as_python(),
    ):
        raise DamagedFileError("a", "--seeds")


def test_what_is_printed_is_spelled_too(capsys):
    reporter = Reporter()
    with spelled_as_python():
        reporter.warn("--log wandb failed")
        reporter.say("fewer --agents-at-once")
    reporter.warn("--log wandb failed")
    told = "pgjax: log wandb failed\nfewer agents_at_once\npgjax: --log wandb failed\n"
    assert capsys.readouterr().err == told
    with (
        pytest.raises(OutOfMemoryError, match=r"^lower num_envs"),
        spelled_as_python(),
    ):
        raise OutOfMemoryError("lower --num-envs")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("--gamma must be 1", "a.toml: gamma must be 1"),
        ("--gamma needs --num-envs 4", "a.toml: gamma needs num_envs = 4"),
        ("--gamma needs --seeds 4", "a.toml: gamma needs --seeds 4"),
        ("--seeds must be 1", "--seeds must be 1"),  # a flag, beside the file
        ("no memory", "no memory"),
    ],
)
def test_what_stands_in_a_file_is_named_as_there(told, expected):
    path = pathlib.Path("a.toml")
    with (
        pytest.raises(UsageError) as found,
        spelled_as_file(path, ["gamma"], ["seeds"]),
    ):
        raise UsageError(told)
    assert str(found.value) == expected


def test_what_other_libraries_say_leads_to_settings_that_there_are():
    known = {x for name in algorithms.__all__ for x in algorithm_options(name)}
    known |= {*run_options(), "log", "out", "quiet", "algorithm"}
    assert set(_MEANT.values()) <= known
    assert not set(_MEANT) & known
