"""Every policy-gradient estimator against the exact gradient.

Small tasks, whose rollouts can all be written down with their probabilities, give the
exact mean and covariance of each estimator, in float64, by code that shares nothing
with pgjax (`tests/oracles`). The gradients that training itself computes, rollout
included, are averaged over a million episodes and compared: component by component in
units of the standard error, all of them together by chi-squared, and so their squares,
which make the variance. Estimators that are biased by design must have the bias that is
predicted. Broken variants must fail the same test.
"""

import pathlib
import sys

# Where the oracles are: they share nothing with pgjax, and are the tests' too.
sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests"))
