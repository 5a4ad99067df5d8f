"""A guard against a compiler bug; runs when pgjax is imported, changes nothing else.

jaxlib 0.10.2 compiles some batched matrix products for the CPU into programs that
read memory before it is written. The result is garbage, another at every run; a
Fisher-vector product under `vmap` shows it (`tests/test_xla.py`). jaxlib 0.9.2, 0.10.0
and 0.10.1 give the right numbers, and so does 0.10.2 without its fusions for the
YNNPACK library, which made nothing faster that was measured here.
"""

from __future__ import annotations

import os
import warnings

import jaxlib

FLAG = "xla_cpu_experimental_ynn_fusion_type"
AFFECTED = "0.10.2"


def turn_off_broken_fusions() -> None:
    """Sets one XLA flag, where jaxlib is the affected one and the user has not set it.

    XLA reads its flags when the first computation starts. If that is past, a warning
    says what to do.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if jaxlib.__version__ != AFFECTED or FLAG in flags:
        return
    from jax._src import xla_bridge  # of this one version

    if xla_bridge.backends_are_initialized():
        warnings.warn(
            f"jaxlib {AFFECTED} may miscompile batched matrix products on a CPU, and "
            "JAX has started already: import pgjax before the first computation, set "
            f"XLA_FLAGS=--{FLAG}= yourself, or use another jaxlib",
            RuntimeWarning,
            stacklevel=3,
        )
    os.environ["XLA_FLAGS"] = f"{flags} --{FLAG}=".strip()
