"""The revision of the code, in clones that are made here."""

import os
import pathlib
import subprocess

import pytest

import pgjax
from pgjax.app.runs import revisions as module
from pgjax.app.runs.revisions import revisions


def git(directory, *arguments):
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    process = subprocess.run(
        ["git", "-C", str(directory), *who, *arguments], capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A repository with a file, which pgjax is imported from."""
    (tmp_path / "pgjax").mkdir()
    (tmp_path / "pgjax" / "__init__.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    monkeypatch.setattr(pgjax, "__file__", str(tmp_path / "pgjax" / "__init__.py"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_clone_has_its_commit_and_whether_it_was_changed(clone):
    commit = git(clone, "rev-parse", "HEAD")
    assert revisions() == {"pgjax": {"commit": commit, "dirty": False}}
    (clone / "notes.txt").write_text("which git does not know")
    assert revisions()["pgjax"]["dirty"] is False
    (clone / "pgjax" / "__init__.py").write_text("x = 1")
    assert revisions() == {"pgjax": {"commit": commit, "dirty": True}}


def test_another_repository_that_is_worked_in_is_told_too(clone, tmp_path, monkeypatch):
    other = clone / "mine"  # within the clone, and a repository of its own
    other.mkdir()
    git(other, "init", "-q")
    monkeypatch.chdir(other)
    assert set(revisions()) == {"pgjax"}  # it has no commit yet
    git(other, "commit", "-q", "--allow-empty", "-m", "mine")
    found = revisions()
    assert found["directory"]["commit"] == git(other, "rev-parse", "HEAD")
    assert found["pgjax"]["commit"] == git(clone, "rev-parse", "HEAD")
    assert str(tmp_path) not in str(found)


def test_a_package_installed_within_a_repository_is_not_its_own(clone, monkeypatch):
    installed = clone / "site-packages" / "pgjax"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    monkeypatch.setattr(pgjax, "__file__", str(installed / "__init__.py"))
    assert set(revisions()) == {"directory"}


@pytest.mark.parametrize("what", ["missing", "slow", "fails", "nowhere"])
def test_without_git_nothing_is_told_and_nothing_fails(what, clone, monkeypatch):
    if what == "slow":
        monkeypatch.setattr(module, "SECONDS", 0.3)
    scripts = {"slow": "exec sleep 30", "fails": "echo no >&2; exit 128"}
    if what in scripts:
        stub = clone / "bin" / "git"
        stub.parent.mkdir()
        stub.write_text(f"#!/bin/sh\n{scripts[what]}\n")
        stub.chmod(0o755)
        monkeypatch.setenv("PATH", str(stub.parent), prepend=os.pathsep)
    elif what == "missing":
        monkeypatch.setenv("PATH", str(clone / "empty"))
    else:
        (clone / ".git").rename(clone / "not-git")
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(clone.parent))
    assert revisions() == {}
    assert pathlib.Path.cwd() == clone
