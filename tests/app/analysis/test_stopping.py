"""Who stopped before others, and who by an update more or less."""

import numpy as np
import pytest
from test_ranking import sample

from pgjax.app.analysis import comparison_figures
from pgjax.app.analysis.stopping import first_stop


@pytest.mark.parametrize(
    ("ends", "first"),
    [([1000, 1000], np.inf), ([985, 1000], np.inf), ([700, 1000], 700), ([5], np.inf)],
)
def test_an_update_more_or_less_is_no_stop(ends, first):
    assert first_stop(ends) == first


def test_complete_episodes_that_nobody_solved_are_not_dotted():
    found = sample("x", [20.0] * 8)
    agents = dict(found.curves.agents)
    agents[0] = np.array([[0.0, 985.0], [0.0, 9.0]])
    curves = found.curves._replace(agents=agents)
    assert curves.whole == len(curves.env_steps)
    figure = comparison_figures.figure_of(
        comparison_figures.curves, [found._replace(curves=curves)]
    )
    assert "dotted" not in figure.axes[0].get_xlabel()
