"""One process's part of a run, and what it knows of those before."""

import signal

import pytest

import pgjax as pg
from pgjax.app.runs import hosts, session, training_log

SETTINGS = {"hidden": (4,), "num_envs": 2, "eval_episodes": 2, "quiet": True}
SETTINGS |= {"steps": 200, "updates_per_chunk": 1, "anneal_learning_rate": False}


def test_times_are_those_of_all_processes(tmp_path):
    """The first is stopped in the first of two batches; the last adds a third."""
    out = tmp_path / "run"
    compile_programs = session.compile_programs

    def compiled(*arguments, **options):
        return compile_programs(*arguments, **options)._replace(seconds=500.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hosts, "largest", lambda *_: (signal.SIGTERM, 0))
        patch.setattr(training_log, "process_age", lambda: 1000.0)
        patch.setattr(session, "compile_programs", compiled)
        with pytest.raises(KeyboardInterrupt):
            pg.app.train(out=out, seeds=3, agents_at_once=2, **SETTINGS)
    resumed = pg.app.train(resume=out, quiet=True).summary
    assert resumed["wall_seconds"] > 1000.0
    assert resumed["compile_seconds"] > 500.0
    extended = pg.app.train(resume=out, seeds=4, quiet=True).summary
    for time in ("wall_seconds", "compile_seconds", "train_seconds"):
        assert extended[time] > resumed[time]
