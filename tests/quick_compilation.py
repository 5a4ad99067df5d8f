"""Half the time to compile, which is most of what the tests take: import it before JAX.

Of the commands that they start, too. JAX_DISABLE_MOST_OPTIMIZATIONS=0 compiles as users
do.
"""

from __future__ import annotations

import os

import jaxlib.version

QUICK = os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1"
# Without them LLVM is given half as much to do. Later ones would stop at the flag.
FUSION_EMITTERS = "xla_cpu_use_fusion_emitters"
KNOWN = jaxlib.version.__version_info__ < (0, 11)
FLAGS = f"--{FUSION_EMITTERS}=false" if QUICK and KNOWN else ""


def with_flags(flags: str) -> str:
    """XLA_FLAGS of a process that is to have others than this one's."""
    return flags if FUSION_EMITTERS in flags else f"{flags} {FLAGS}".strip()


os.environ["XLA_FLAGS"] = with_flags(os.environ.get("XLA_FLAGS", ""))
