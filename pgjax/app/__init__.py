"""The `pgjax` command, and from Python `pg.app.train`: files, screens, processes.

The library knows nothing of it.
"""

from pgjax.app.errors import UsageError
from pgjax.app.training import Run, train

__all__ = ["Run", "UsageError", "train"]
