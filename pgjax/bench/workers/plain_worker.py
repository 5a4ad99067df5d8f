"""Trains with the plain twin, as the field runs it: one XLA device, its own flags."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import sys
from typing import Any

TIME_LIMIT = 500  # of CartPole-v1


def build(spec: dict[str, Any]) -> Any:
    """Compiles `updates` train steps in one program, and runs it once.

    Args:
      spec: that of `pgjax.bench.cases.Spec`.
    """
    os.environ.pop("XLA_FLAGS", None)  # those that suit pgjax
    import jax
    import optax
    from protocol import compiled_work  # type: ignore[import-not-found]

    plain = _plain_module()
    optimizer = optax.adam(spec["learning_rate"])
    if spec["max_gradient_norm"] is not None:
        clip = optax.clip_by_global_norm(spec["max_gradient_norm"])
        optimizer = optax.chain(clip, optimizer)
    sizes = spec["num_envs"], spec["num_steps"] or TIME_LIMIT
    complete = {"complete_episodes": True} if spec["num_steps"] is None else {}
    make = getattr(plain, spec["algorithm"])
    twin = make(spec["env"], optimizer, *sizes, **complete)
    start = jax.jit(twin.init)(jax.random.key(spec["seed"]))

    def run(state: Any) -> Any:
        return jax.lax.scan(
            lambda state, _: twin.step(state), state, length=spec["updates"]
        )

    return compiled_work(run, start, spec, what=f"plain {spec['algorithm']}")


def _plain_module() -> Any:
    """plain.py by its path: its package would import pgjax, whose flags it must not
    have.
    """
    path = pathlib.Path(__file__).resolve().parent.parent / "plain.py"
    spec = importlib.util.spec_from_file_location("plain", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    from protocol import serve  # beside this script

    serve(build)
