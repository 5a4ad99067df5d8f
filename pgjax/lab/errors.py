"""What a person got wrong: told in one line, with the remedy, before any long work."""


class UsageError(Exception):
    """Bad input; the command prints the message and exits with code 2."""
