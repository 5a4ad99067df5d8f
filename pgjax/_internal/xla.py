"""What XLA compiles for, and a guard against a bug of it: a flag, set on import.

jaxlib 0.10.2 to 0.11.2, the newest there was to try, compile some batched matrix
products for the CPU into programs whose result is garbage, another at every run; a
Fisher-vector product under `vmap` shows it (`tests/_internal/test_xla.py`). jaxlib
0.9.2, 0.10.0 and 0.10.1 give the right numbers, and so do the later ones without their
fusions for the YNNPACK library (tried: 0.10.2 and 0.11.2), which made nothing faster
that was measured here.
"""

from __future__ import annotations

import os
import warnings

import jax
import jaxlib

FLAG = "xla_cpu_experimental_ynn_fusion_type"
FIRST_AFFECTED = (0, 10, 2)


def on_cpu() -> bool:
    """Whether JAX computes on a CPU; only sizes may depend on it, never semantics."""
    return jax.default_backend() == "cpu"


def turn_off_broken_fusions() -> None:
    """Sets one XLA flag, where jaxlib is an affected one and the user has not set it.

    XLA reads its flags when the first computation starts. If that is past, a warning
    says what to do. The flag is an environment variable: child processes inherit it.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if jaxlib.version.__version_info__ < FIRST_AFFECTED or FLAG in flags:
        return
    os.environ["XLA_FLAGS"] = f"{flags} --{FLAG}=".strip()
    if _runs_on_cpu():
        warnings.warn(
            f"jaxlib {jaxlib.__version__} may miscompile batched matrix products on a "
            "CPU, and JAX has started already: import pgjax before gymnax and before "
            f"the first computation, set XLA_FLAGS=--{FLAG}= yourself, or use "
            "jaxlib 0.10.1",
            RuntimeWarning,
            stacklevel=3,
        )


def _runs_on_cpu() -> bool:
    """Whether JAX has started already, with the CPU as its default device."""
    try:
        from jax._src import xla_bridge

        if not xla_bridge.backends_are_initialized():
            return False
        return xla_bridge.default_backend() == "cpu"
    except (ImportError, AttributeError):  # another jax has it elsewhere
        return False
