"""The four places that name packages agree: pyproject.toml, environment.yml, constraints.txt and the workflows."""

from __future__ import annotations

import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())
# What conda-forge calls a package that PyPI calls otherwise.
PYPI_NAMES = {"python-fastjsonschema": "fastjsonschema", "python-igraph": "igraph", "pytorch": "torch"}
PYTHONS = ["3.11", "3.12", "3.13"]


def declared() -> dict[str, Requirement]:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    found = [Requirement(text) for group in groups for text in group]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def in_conda() -> dict[str, Requirement]:
    plain = [entry for entry in CONDA["dependencies"] if isinstance(entry, str)]
    by_pip = [text for entry in CONDA["dependencies"] if isinstance(entry, dict) for text in entry["pip"]]
    found = {}
    for requirement in map(Requirement, plain + by_pip):
        name = canonicalize_name(requirement.name)
        found[PYPI_NAMES.get(name, name)] = requirement
    return found


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pair) == 2 for pair in pairs), "every line of constraints.txt names one exact version"
    return {canonicalize_name(name): version for name, version in pairs}


def test_conda_users_get_the_same_packages() -> None:
    conda = in_conda()
    assert str(conda.pop("python").specifier) == str(Requirement(f"x{PROJECT['requires-python']}").specifier)
    conda.pop("pip")
    assert {name: str(requirement.specifier) for name, requirement in conda.items()} == {
        name: str(requirement.specifier) for name, requirement in declared().items()
    }


def test_binder_uses_the_same_environment() -> None:
    # Where there is a binder folder, Binder looks nowhere else.
    assert (ROOT / "binder" / "environment.yml").read_text() == (ROOT / "environment.yml").read_text()


def test_every_direct_dependency_has_a_tested_version() -> None:
    versions = pinned()
    wrong = {
        name: versions.get(name)
        for name, requirement in declared().items()
        if name not in versions or versions[name] not in requirement.specifier
    }
    assert wrong == {}


def test_constraints_hold_no_build_of_one_machine() -> None:
    text = (ROOT / "constraints.txt").read_text()
    for part in ("+", "@", "file:", "://", " -e"):
        assert part not in text


@pytest.mark.parametrize("python", PYTHONS)
def test_supported_pythons(python: str) -> None:
    supported = Requirement(f"x{PROJECT['requires-python']}").specifier
    assert python in supported
    major, minor = python.split(".")
    assert (f"{major}.{int(minor) + 1}" in PYTHONS) == (f"{major}.{int(minor) + 1}" in supported)
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == PYTHONS
