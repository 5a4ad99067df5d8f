"""What is true, from the definitions: NumPy in float64, sharing no code with pgjax."""

from oracles.loops import *  # noqa: F403
