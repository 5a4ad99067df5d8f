"""`python -m pgjax`: the command."""

from pgjax.cli import command

if __name__ == "__main__":
    command()
