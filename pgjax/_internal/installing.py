"""How what pgjax can use is installed beside it."""

from __future__ import annotations

# What pip knows this project by; another project has the name pgjax there.
DISTRIBUTION = "pgjax-rl"


def install(extra: str) -> str:
    """The command that adds an extra to an installed pgjax."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"
