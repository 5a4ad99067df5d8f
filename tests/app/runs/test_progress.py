"""What is told of training."""

import pytest

from pgjax.app.runs import progress
from pgjax.app.runs.progress import _TrainingProgress


class Shown:
    def __init__(self):
        self.lines = []

    def show(self, done, facts):
        self.lines.append((done, facts))


def told(*updates):
    """The lines after updates of (steps, training seconds, share done)."""
    shown = Shown()
    line = _TrainingProgress(shown)
    for steps, seconds, done in updates:
        line.update(
            steps=steps,
            training_seconds=seconds,
            done=done,
            num_agents=8,
            mean_return=float("nan"),
            num_solved=None,
        )
    return shown.lines


def test_the_speed_is_of_training_alone_and_of_this_process(monkeypatch):
    # A minute passes between two looks, of which two seconds are training.
    clock = iter([0.0, 60.0, 120.0])
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    lines = told((5000, 30.0, 0.5), (9000, 32.0, 0.75), (13000, 34.0, 1.0))
    assert lines[0] == (0.5, "5k env steps")  # of a process before
    assert lines[1] == (0.75, "9k env steps · 2k steps/s · ETA 1 min 00 s")
    assert lines[2] == (1.0, "13k env steps · 2k steps/s")


@pytest.mark.parametrize(
    ("mean", "solved", "says"),
    [(12.346, None, "return 12.35"), (float("nan"), 3, "solved 3/8")],
)
def test_what_is_known_is_told(mean, solved, says):
    shown = Shown()
    _TrainingProgress(shown).update(
        steps=0,
        training_seconds=0.0,
        done=0.0,
        num_agents=8,
        mean_return=mean,
        num_solved=solved,
    )
    assert shown.lines == [(0.0, f"0 env steps · {says}")]
