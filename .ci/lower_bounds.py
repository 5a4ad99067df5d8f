"""Prints pyproject.toml's lower bounds as constraints for pip, name==version a line."""

import pathlib
import re
import tomllib

# Of tools that look at the source alone, any version will do.
TOOLS = {"ruff", "mypy"}


def lower_bounds(project: dict) -> dict[str, str]:
    """The lowest version of each direct dependency, extras included, by its name."""
    optional = project["optional-dependencies"].values()
    bounds: dict[str, str] = {}
    for requirement in sum(optional, project["dependencies"]):
        name, extras, rest = re.match(r"([\w.-]+)(\[.*?\])?(.*)", requirement).groups()
        found = re.search(r">=\s*([\w.]+)", rest)
        if extras and name in bounds:  # an extra of what has its bound already
            continue
        if found is None:
            raise SystemExit(f"pyproject.toml: {requirement} has no lower bound")
        if bounds.setdefault(name, found[1]) != found[1]:
            raise SystemExit(f"pyproject.toml: {name} has two lower bounds")
    return {name: bound for name, bound in bounds.items() if name not in TOOLS}


if __name__ == "__main__":
    text = (pathlib.Path(__file__).parent.parent / "pyproject.toml").read_text()
    for name, bound in lower_bounds(tomllib.loads(text)["project"]).items():
        print(f"{name}=={bound}")
