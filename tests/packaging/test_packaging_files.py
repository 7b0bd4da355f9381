"""The files of packaging agree with each other, and the lock is of what pyproject.toml asks for."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

import sparring

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "uv.lock").read_text()
PACKAGES: dict[str, dict[str, Any]] = {
    package["name"]: package for package in tomllib.loads(LOCK)["package"]
}


def wanted() -> Iterator[tuple[str, str]]:
    """Name and versions of every dependency of pyproject.toml, extras included."""
    further = (each for extra in PROJECT["optional-dependencies"].values() for each in extra)
    for text in (*PROJECT["dependencies"], *further):
        requirement = Requirement(text)
        yield requirement.name, str(requirement.specifier)


def test_the_version_has_one_home() -> None:
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", sparring.__version__)
    named = [
        path.name
        for path in (ROOT / "pyproject.toml", ROOT / "setup.py", ROOT / "CITATION.cff")
        if re.search(rf'^\s*version\W+"?{re.escape(sparring.__version__)}', path.read_text(), re.M)
    ]
    assert named == []


def test_the_lock_is_of_the_dependencies_that_are_stated() -> None:
    def listed(stated: Mapping[str, str]) -> tuple[str, str]:
        return stated["name"], stated.get("specifier", "")

    locked = {listed(each) for each in PACKAGES["sparring"]["metadata"]["requires-dist"]}
    assert {pair for pair in wanted() if pair not in locked} == set(), "run `uv lock`"
    assert locked - set(wanted()) == set(), "run `uv lock`"


def test_the_lock_names_public_places_only() -> None:
    hosts = set(re.findall(r"\w+://([^/\"]+)", LOCK))
    assert hosts == {"pypi.org", "files.pythonhosted.org"}
    sources = [package["source"] for package in PACKAGES.values()]
    kinds = {kind for source in sources for kind in source}
    assert kinds == {"registry", "editable"}


def test_every_file_in_the_lock_has_its_hash() -> None:
    files = [
        file
        for package in PACKAGES.values()
        for file in [*package.get("wheels", []), *filter(None, [package.get("sdist")])]
    ]
    assert len(files) > 1000
    assert [file["url"] for file in files if not file["hash"].startswith("sha256:")] == []


def test_makefile_dockerfile_and_lock_have_the_same_torch() -> None:
    stated = re.search(
        r"^TORCH := torch==(\S+) torchvision==(\S+)", (ROOT / "Makefile").read_text(), re.M
    )
    assert stated is not None
    dockerfile = (ROOT / "Dockerfile").read_text()
    for name, version in zip(("torch", "torchvision"), stated.groups(), strict=True):
        assert f"ARG {name.upper()}={version}\n" in dockerfile
        assert PACKAGES[name]["version"] == version


def test_a_table_says_of_every_file_of_packaging_whether_it_ever_ran() -> None:
    page = (ROOT / "docs" / "packaging.md").read_text()
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    files = [*(f"workflows/{path.name}" for path in workflows), "Dockerfile", "uv.lock", "setup.py"]
    rows = [row for row in page.splitlines() if row.startswith("|")]
    assert [name for name in files if not any(f"{name}`" in row for row in rows)] == []
