"""What the README says works, works."""

import pathlib
import re
import shlex

import pytest

README = (pathlib.Path(__file__).parent.parent / "README.md").read_text()


def test_every_python_block_runs():
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(blocks) >= 5
    namespace: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    assert namespace["curves"].shape == (2, 4, 60)
    assert namespace["reward"] > 0.95  # the sequence model counts
    # The ten-line example learns.
    assert namespace["curves"][1].mean(0)[-1] > 4 * namespace["curves"][1].mean(0)[0]


@pytest.mark.parametrize(
    "command", sorted(set(re.findall(r"^pgjax .*$", README, re.M)))
)
def test_every_command_parses(command):
    from pgjax.arguments import make_parser

    words = shlex.split(command, comments=True)[1:]
    words = [word for word in words if word != "--help"]  # it would exit
    assert vars(make_parser(words).parse_args(words))["command"] == words[0]


def test_every_picture_exists():
    root = pathlib.Path(__file__).parent.parent
    pictures = re.findall(r'src="([^"]+)"|!\[[^\]]*\]\(([^)]+)\)', README)
    assert pictures
    for names in pictures:
        assert (root / (names[0] or names[1])).is_file()
