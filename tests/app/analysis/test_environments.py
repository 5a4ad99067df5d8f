"""Methods across environments: normalised scores, by hand and through the command."""

import json

import numpy as np
import pytest
from test_compare import write_run

from pgjax.app.analysis import environments, normalization
from pgjax.app.analysis.normalization import Scale
from pgjax.app.analysis.selection import load_all
from pgjax.app.cli import main
from pgjax.app.errors import UsageError
from pgjax.app.settings.run_settings import SOLVED_RETURNS


def runs_of(tmp_path, **returns):
    """A run for each NAME_ENV; its agents have these returns."""
    envs = {"cart": "CartPole-v1", "acro": "Acrobot-v1"}
    runs = []
    for name, of in returns.items():
        algorithm, env = name.split("_")
        agents = [((), s, x, None) for s, x in enumerate(of)]
        run = write_run(tmp_path / name, agents, env=envs[env], gamma=0.99)
        record = json.loads((run / "config.json").read_text())
        record["algorithm"] = algorithm
        (run / "config.json").write_text(json.dumps(record))
        runs.append(str(run))
    return runs


SCALES = """
["CartPole-v1"]
random = 0.0
reference = 500.0

["Acrobot-v1"]
random = -500.0
reference = -100.0
source = "by hand"
"""


@pytest.fixture
def scales(tmp_path):
    path = tmp_path / "scales.toml"
    path.write_text(SCALES)
    return str(path)


def test_scores_are_on_the_scale_of_the_file(tmp_path, scales):
    runs = runs_of(
        tmp_path,
        ppo_cart=[250.0, 500.0],
        ppo_acro=[-300.0, -100.0],
        a2c_acro=[-500.0, -500.0],
        a2c_cart=[0.0, 100.0],
    )
    ppo, a2c = environments.methods(load_all(runs), scales)
    assert (ppo.name, a2c.name) == ("ppo", "a2c")
    np.testing.assert_allclose(ppo.scores, [[0.5, 1.0], [0.5, 1.0]])
    np.testing.assert_allclose(a2c.scores, [[0.0, 0.0], [0.0, 0.2]])


def test_compare_and_report_take_several_environments(tmp_path, scales, capsys):
    rng = np.random.default_rng(0)
    runs = runs_of(
        tmp_path,
        ppo_cart=rng.uniform(400, 500, 8),
        ppo_acro=rng.uniform(-200, -100, 8),
        a2c_cart=rng.uniform(100, 200, 8),
        a2c_acro=rng.uniform(-500, -400, 8),
    )
    more = ["--normalize", scales]
    assert main(["compare", *runs, *more, "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    ppo, _ = content["normalized"]
    assert 0.75 < ppo["iqm_low"] < ppo["iqm"] < ppo["iqm_high"] < 1.0
    assert ppo["mean"] == pytest.approx(1 - ppo["optimality_gap"])  # none is above 1
    (against,) = content["against"]
    assert (against["method"], against["p_better"]) == ("a2c", 0.0)
    assert 0.05 < against["p_better_high"] < 0.3
    assert [row["run"] for row in content["CartPole-v1"]] == ["ppo_cart", "a2c_cart"]
    assert main(["compare", *runs, *more, "--against", "a2c"]) == 0
    out = capsys.readouterr().out
    assert "Normalised scores over Acrobot-v1, CartPole-v1" in out
    assert "Against a2c" in out
    page, figures = tmp_path / "r.html", tmp_path / "figures"
    assert main(["report", *runs, *more, "--out", str(page)]) == 0
    assert "normalised score" in page.read_text()
    assert main(["compare", *runs, *more, "--out", str(figures)]) == 0
    names = {path.name for path in figures.iterdir()}
    assert {"normalized_profile.png", "profile-Acrobot-v1.png"} <= names


def test_what_differs_within_an_algorithm_makes_another_method(tmp_path, scales):
    runs = []
    for gamma in (0.9, 0.99):
        for env in ("CartPole-v1", "Acrobot-v1"):
            agents = [((), s, 1.0, None) for s in range(2)]
            path = tmp_path / f"{gamma}-{env}"
            # The learning rate is that of the environment, and no other method's.
            rate = len(env)
            made = write_run(path, agents, env=env, gamma=gamma, learning_rate=rate)
            runs.append(str(made))
    found = environments.methods(load_all(runs), scales)
    assert [method.name for method in found] == ["ppo, gamma 0.9", "ppo, gamma 0.99"]


def test_what_cannot_be_told_apart_or_is_missing_is_told(tmp_path, scales):
    one, other = (1.0, 2.0), (3.0, 4.0)
    runs = runs_of(tmp_path, ppo_cart=one, ppo_acro=one, a2c_cart=other)
    with pytest.raises(UsageError, match="a2c has no run of Acrobot-v1, which others"):
        environments.methods(load_all(runs), scales)
    twin = write_run(tmp_path / "twin", [((), 7, 1.0, None)], gamma=0.99)
    with pytest.raises(UsageError, match="ppo_cart and twin are both ppo on CartPole"):
        environments.methods(load_all([*runs[:2], str(twin)]), scales)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[x", "it is not TOML"),
        ("[x]\nrandom = 1", r'\["x"\] needs random and reference, two numbers'),
        ("[x]\nrandom = 1\nreference = 1", 'random and reference of \\["x"\\] are the'),
        ("[x]\nrandom = 1\nreference = nan", "needs random and reference"),
        ("[x]\nrandom = 1\nreference = 2\nmax = 3", "needs random and reference"),
        ("x = 1", "needs random and reference"),
    ],
)
def test_a_file_that_is_none_is_told(text, told, tmp_path):
    path = tmp_path / "scales.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=told):
        normalization.read(path)
    with pytest.raises(UsageError, match="missing"):
        normalization.read(tmp_path / "nothing.toml")


def test_a_users_scale_comes_before_our_own(tmp_path, scales):
    own = normalization.scales(["CartPole-v1"], None)["CartPole-v1"]
    assert own.reference == SOLVED_RETURNS["CartPole-v1"]
    assert 20 < own.random < 25
    assert normalization.scales(["CartPole-v1"], scales) == {
        "CartPole-v1": Scale(0.0, 500.0)
    }
    with pytest.raises(UsageError, match="random and reference score of Pendulum-v1"):
        normalization.scales(["Pendulum-v1"], None)


def test_every_reference_of_our_own_has_a_source():
    assert normalization.OWN.read_text().count("source =") == len(
        known := normalization.read(normalization.OWN)
    )
    for env, level in SOLVED_RETURNS.items():
        assert known[env].reference == level


@pytest.fixture
def two_methods(tmp_path):
    return runs_of(
        tmp_path,
        ppo_cart=[100.0] * 8,
        ppo_acro=[-450.0] * 8,
        a2c_cart=[400.0] * 8,
        a2c_acro=[-120.0] * 8,
    )


def compared(capsys, scales, *words):
    code = main(["compare", *words, "--normalize", scales, "--format", "json"])
    printed = capsys.readouterr()
    return json.loads(printed.out) if code == 0 else (code, printed.err)


def test_methods_are_put_in_order(two_methods, scales, capsys):
    for by in ((), ("--sort-by", "iqm"), ("--sort-by", "mean")):
        found = compared(capsys, scales, *two_methods, *by)
        names = [row["method"] for row in found["normalized"]]
        assert names == (["a2c", "ppo"] if by else ["ppo", "a2c"])
        runs = [row["run"] for row in found["CartPole-v1"]]
        assert runs == [f"{name}_cart" for name in names]
    code, told = compared(capsys, scales, *two_methods, "--sort-by", "area")
    assert code == 2
    assert "iqm or mean of normalised scores" in told


def test_a_method_whose_agents_diverged_is_not_the_best(two_methods, scales):
    samples = load_all(two_methods)
    samples[2].greedy[:7] = np.nan
    found = environments.methods(samples, scales)
    # 7 of its 16 agents are in the middle half.
    assert [m.name for m in environments.ranked(found)] == ["ppo", "a2c"]


@pytest.mark.parametrize(
    ("words", "against"),
    [(["best"], "ppo"), (["a2c"], "ppo"), (["ppo"], "a2c"), (["a2c_cart"], "ppo")],
)
def test_methods_are_compared_with_what_is_named(
    words, against, two_methods, scales, capsys
):
    found = compared(capsys, scales, *two_methods, "--against", *words)
    assert [row["method"] for row in found["against"]] == [against]


def test_who_is_none_of_the_methods_is_told(two_methods, scales, capsys):
    for runs in (two_methods, two_methods[:2]):  # also of one method
        code, told = compared(capsys, scales, *runs, "--against", "nonsense")
        assert code == 2
        assert "--against nonsense is none of them" in told
    code, told = compared(capsys, scales, *two_methods, "--against", "gamma=0.99")
    assert code == 2
    assert "--against gamma=0.99 is 2 of them, such as ppo and a2c" in told
