"""`python -m pgjax`: the command."""

from pgjax.app.cli import command

if __name__ == "__main__":
    command()
