"""The `pgjax` command, and from Python `pg.app.train`: files, screens, processes.

`pg.app.presets` and `pg.app.preset` tell the settings that have a name.

The library knows nothing of it.
"""

from pgjax.app.errors import UsageError
from pgjax.app.settings.presets import preset, presets
from pgjax.app.train_command import Run, Study, train

__all__ = ["Run", "Study", "UsageError", "preset", "presets", "train"]
