"""What a person got wrong: told in one line, with the remedy, before any long work."""


class UsageError(Exception):
    """Bad input; the command prints the message and exits with code 2."""


def told(error: OSError) -> str:
    """What the system says, and of which file."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason
