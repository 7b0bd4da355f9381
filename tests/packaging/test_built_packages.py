"""The sdist and the wheels hold what they should, and work where nothing else of sparring is: with
the compiled kernel, without a compiler, and as the wheel for every platform."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("src", "tests", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
SOURCE = ROOT / "src" / "sparring"
FOREIGN = "src/sparring/acceleration/_views.cpython-39-darwin.so"
"""A library that another machine has left in the folder."""

pytestmark = pytest.mark.slow


def assets() -> set[str]:
    """Files of the package that are no Python, relative to `sparring/`; the kernel is apart."""
    return {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*")
        if path.is_file()
        and path.suffix not in {".py", ".c", ".so", ".pyc"}
        and "__pycache__" not in path.parts
    }


def call(*command: str | Path, where: Path, **changed: str) -> str:
    """Both streams of a command that must succeed, without this process's PYTHONPATH."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=where,
        env={**kept, "OMP_NUM_THREADS": "1", **changed},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def build(kind: str, source: Path, out: Path, **changed: str) -> tuple[Path, str]:
    """The file that was built, and what the build printed."""
    options = ("--no-isolation", f"--{kind}", "--outdir", out)
    told = call(sys.executable, "-m", "build", *options, source, where=source, **changed)
    (built,) = out.iterdir()
    return built, told


def clean_environment(folder: Path) -> Path:
    """Python of a new environment that reaches this one's packages, but not its sparring.

    A path in a .pth file is searched for modules, while the .pth files in it, such as that of an
    editable install, are not read.
    """
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    own = call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", where=folder)
    Path(own.strip(), "others.pth").write_text(sysconfig.get_path("purelib"))
    found = "import importlib.util; print(importlib.util.find_spec('sparring'))"
    assert call(python, "-c", found, where=folder).strip() == "None"
    return python


def install(package: Path, python: Path, **changed: str) -> str:
    """Install a wheel or an sdist as a user would, but without a network; what pip printed."""
    options = ("--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed", "--verbose")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", *options)
    return call(*pip, package, where=package.parent, **changed)


def smoke(python: Path, kernel: str) -> str:
    """What `scripts/smoke` finds in an environment."""
    return call(python, ROOT / "scripts" / "smoke", "--kernel", kernel, where=python.parent)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sdist of a copy of this folder, in which another machine has left a library."""
    if sys.platform == "win32" or shutil.which("gcc") is None:
        pytest.skip("these builds need gcc")
    copy = tmp_path_factory.mktemp("checkout")
    for part in PARTS:
        if (ROOT / part).is_dir():
            ignored = shutil.ignore_patterns("*.egg-info", "__pycache__", "golden", "fixtures")
            shutil.copytree(ROOT / part, copy / part, ignore=ignored)
        else:
            shutil.copy(ROOT / part, copy / part)
    (copy / FOREIGN).write_bytes(b"of another machine")
    return build("sdist", copy, tmp_path_factory.mktemp("sdist"))[0]


@pytest.fixture
def unpacked(sdist: Path, tmp_path: Path) -> Path:
    """Folder of the unpacked sdist, in which nothing has been built yet."""
    folder = tmp_path / "unpacked"
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (inside,) = folder.iterdir()
    return inside


def test_the_sdist_holds_the_package_and_nothing_of_tests_or_other_machines(
    unpacked: Path,
) -> None:
    names = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*")}
    assert {"LICENSE", "README.md", "setup.py", "src/sparring/acceleration/_views.c"} <= names
    assert {f"src/sparring/{name}" for name in assets()} <= names
    assert [name for name in names if name.startswith("tests") or name.endswith(".so")] == []


def test_a_wheel_has_the_kernel_and_trains_in_a_clean_environment(
    unpacked: Path, tmp_path: Path
) -> None:
    wheel, _ = build("wheel", unpacked, tmp_path / "built", SPARRING_KERNEL="required")
    assert "-cp311-abi3-" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {f"sparring/{name}" for name in assets()} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert [name for name in names if name.endswith((".so", ".c"))] == [
        "sparring/acceleration/_views.abi3.so"
    ]
    python = clean_environment(tmp_path / "environment")
    install(wheel, python)
    assert f"in {tmp_path}" in smoke(python, "present")


def test_the_sdist_installs_without_a_compiler_and_says_so_in_one_line(
    sdist: Path, tmp_path: Path
) -> None:
    python = clean_environment(tmp_path / "environment")
    told = install(sdist, python, CC="/bin/false")
    assert told.count("sparring is built without its compiled kernel") == 1
    assert "/bin/false" in told
    found = smoke(python, "absent")
    assert f"in {tmp_path}" in found
    assert "PyTorch's own kernels, three times as slow" in found


def test_the_wheel_for_every_platform_has_no_kernel_and_trains(
    unpacked: Path, tmp_path: Path
) -> None:
    wheel, _ = build("wheel", unpacked, tmp_path / "built", SPARRING_KERNEL="off")
    assert wheel.name.endswith("-py3-none-any.whl")
    python = clean_environment(tmp_path / "environment")
    install(wheel, python)
    assert f"in {tmp_path}" in smoke(python, "absent")


def test_a_build_that_requires_the_kernel_fails_without_a_compiler(
    unpacked: Path, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match="/bin/false"):
        build("wheel", unpacked, tmp_path / "built", SPARRING_KERNEL="required", CC="/bin/false")


def test_an_unknown_choice_of_kernel_is_one_line(unpacked: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="must be one of auto, required, off, got 'yes'"):
        build("wheel", unpacked, tmp_path / "built", SPARRING_KERNEL="yes")
