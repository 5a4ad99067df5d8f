"""What a person got wrong: told in one line, with the remedy, before any long work."""

import os


class UsageError(Exception):
    """Bad input; the command prints the message and exits with code 2."""


class MissingFileError(UsageError):
    """There is no such file."""

    def __init__(self, path: str | os.PathLike):
        super().__init__(f"{path} is missing")


class DamagedFileError(UsageError):
    """A file that does not hold what it should, and what it holds instead."""

    def __init__(self, path: str | os.PathLike, why: str):
        super().__init__(f"{path} is damaged: {why}")


class OutOfMemoryError(Exception):
    """Memory ran out; the command prints the message and exits with code 1."""


def told(error: OSError) -> str:
    """What the system says, and of which file."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason
