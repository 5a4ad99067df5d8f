"""What to say of a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown_name(
    told: str, name: str, known: Iterable[str], *, prefix: str = ""
) -> str:
    """A sentence with the nearest names, or all, where none is near.

    Args:
      told: its beginning, such as "unknown environment".
      name: what was given.
      known: what there is.
      prefix: that all of these have, such as "brax:".

    >>> print(unknown_name("unknown environment", "aunt", ["ant"], prefix="brax:"))
    unknown environment 'brax:aunt'; did you mean brax:ant?
    """
    folded = {x.lower(): x for x in known}
    if not folded:
        return f"{told} {prefix + str(name)!r}: there are none"
    near = difflib.get_close_matches(str(name).lower(), folded, n=3, cutoff=0.4)
    names = ", ".join(prefix + folded[match] for match in near or folded)
    meant = f"did you mean {names}?" if near else f"there are {names}"
    return f"{told} {prefix + str(name)!r}; {meant}"
