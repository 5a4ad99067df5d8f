"""What to say of a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown_name(told: str, name: str, known: Iterable[str]) -> str:
    """A sentence with the nearest names, or all, where none is near.

    Args:
      told: its beginning, such as "unknown environment".
      name: what was given.
      known: what there is.
    """
    folded = {x.lower(): x for x in known}
    if not folded:
        return f"{told} {name!r}: there are none"
    near = difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.4)
    nearest = ", ".join(folded[match] for match in near) or ", ".join(folded.values())
    return f"{told} {name!r}; did you mean {nearest}?"
