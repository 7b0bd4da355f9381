"""Malformed images, lists, parquet files, annotations and run folders: each in a forked worker with
limits, so that a crash, a hang or a hunger for memory is a fault and not an end.

What is handed in must be used or told: an error of the library, an entry of the quarantine, or one
line of a command.
"""

import contextlib
import io
import os
import random
import resource
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from sparring.command import commands as cli
from sparring.data.dataset import DataSettings, open_dataset
from sparring.data.sources.detection_layouts import open_detection_images
from sparring.data.sources.image_source import UnreadableItemError
from sparring.data.sources.source import open_source
from sparring.errors import SparringError

from .mutation import mutated

SEEDS = Path(__file__).parent / "seeds"
LONGEST_SECONDS, LONGEST_WAIT_SECONDS = 10, 120
"""Computing time of one input, and time on the clock, which other work of the machine stretches."""
MEMORY_BYTES = 4 * 2**30
"""Memory that a worker may have beyond what it starts with: one image may take 1 GiB, and a few
copies of it."""
COMMANDS = ("report", "export", "embed", "evaluate", "resume")
SHARES = {
    "images": 44,
    "lists": 12,
    "parquet": 12,
    "shards": 6,
    "boxes": 6,
    "coco": 9,
    "voc": 6,
    "run": 5,
}
"""Percent of the inputs, by kind."""


@dataclass
class Fuzzing:
    """What became of malformed files.

    Attributes:
        ends: number of inputs by kind and end, such as "used" or "told".
        faults: what went wrong, with the file that shows it.
        memory: most memory that a worker took, in MiB.
    """

    ends: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    memory: int = 0


class FaultError(Exception):
    """The library did what it must not do with an input."""


def fuzz(numbers: Sequence[int], *, run: Path, scratch: Path, seed: int) -> Fuzzing:
    """Hand in the malformed files of these numbers.

    Args:
        numbers: number of each input, by which it is drawn.
        run: finished run folder, whose files are changed in copies.
        scratch: empty folder.
        seed: seed of all draws.
    """
    found, left = Fuzzing(), list(numbers)
    scratch.mkdir(parents=True)
    log = scratch / "log"
    while left:
        log.write_bytes(b"")
        if (number := os.fork()) == 0:
            _work(left, run=run, scratch=scratch, seed=seed, log=log)
        _, status = os.waitpid(number, 0)
        lines = [line.split("\t", 2) for line in log.read_text().splitlines()]
        ends = [line for line in lines if line[0] != "begun"]
        found.ends.update(f"{kind} {end}" for end, kind, _ in ends)
        found.faults += [f"{kind}: {what}" for end, kind, what in ends if end == "fault"]
        found.memory = max([found.memory, *(int(what) for _, _, what in ends if what.isdigit())])
        if len(ends) < len(left):
            code = os.waitstatus_to_exitcode(status)
            is_late = code in (-signal.SIGALRM, -signal.SIGPROF)
            what = "hangs" if is_late else f"ends the process ({code})"
            found.faults.append(f"{lines[-1][1]}: {what}; {_keep(scratch, left[len(ends)])}")
        left = left[len(ends) + 1 :] if len(ends) < len(left) else []
    return found


def _work(numbers: Sequence[int], *, run: Path, scratch: Path, seed: int, log: Path) -> None:
    """Hand in the inputs one by one, in this process; it does not return."""
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    os.environ["SPARRING_CACHE"] = str(scratch / "cache")
    for number in numbers:
        draw = random.Random(f"{seed}/{number}")
        (kind,) = draw.choices(list(SHARES), SHARES.values())
        place = scratch / "input"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        os.write(output, f"begun\t{kind}\t{number}\n".encode())
        signal.setitimer(signal.ITIMER_PROF, LONGEST_SECONDS)
        signal.setitimer(signal.ITIMER_REAL, LONGEST_WAIT_SECONDS)
        try:
            end, what = CHECKS[kind](place, draw, run), ""
        except (SparringError, UnreadableItemError):
            end, what = "told", ""
        except BaseException as error:
            end = "fault"
            what = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
            what += f"; {_keep(scratch, number)}"
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        what = what or str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
        os.write(output, f"{end}\t{kind}\t{what}\n".encode())
    os._exit(0)


def _keep(scratch: Path, number: int) -> Path:
    """Copy of an input that showed a fault."""
    return Path(shutil.copytree(scratch / "input", scratch / f"fault-{number}", dirs_exist_ok=True))


def _malformed(kind: str, place: Path, draw: random.Random, name: str | None = None) -> Path:
    """A malformed copy of one of the seeds of a kind."""
    seed = draw.choice(sorted((SEEDS / kind).iterdir()))
    path = place / (name or seed.name)
    path.write_bytes(mutated(seed.read_bytes(), seed.name, draw))
    return path


def _write_images(place: Path, names: str) -> None:
    for number, name in enumerate(names):
        Image.new("RGB", (24, 20), (60 * number, 90, 30)).save(place / f"{name}.png")


def _use(data: Path, draw: random.Random, count: int) -> str:
    """Open a set of so many images and decode it."""
    settings = DataSettings(
        store=draw.choice(("always", "never", "never")), max_bad_share=1, workers=1
    )
    dataset = open_dataset(data, settings, image_size=8)
    if len(dataset) + len(dataset.quarantine) != count:
        raise FaultError(f"{len(dataset)} used and {len(dataset.quarantine)} told of {count}")
    dataset.images(range(len(dataset)))
    return "used" if not dataset.quarantine else "told"


def _check_images(place: Path, draw: random.Random, run: Path) -> str:
    _write_images(place, "z")
    _malformed("images", place, draw)
    return _use(place, draw, 2)


def _check_lists(place: Path, draw: random.Random, run: Path) -> str:
    _write_images(place, "abcd")
    path = _malformed("lists", place, draw)
    return _use(path, draw, len(open_source(path)))


def _check_parquet(place: Path, draw: random.Random, run: Path) -> str:
    path = _malformed("parquet", place, draw)
    return _use(path, draw, len(open_source(path)))


def _check_shards(place: Path, draw: random.Random, run: Path) -> str:
    path = _malformed("shards", place, draw)
    source = open_source(path)
    source.labels()
    end = _use(path, draw, len(source))
    return "told" if source.notes else end


def _check_annotations(data: Path) -> str:
    """Read all images of an annotated set, their objects and masks."""
    images = open_detection_images(data)
    told = False
    for row in range(len(images)):
        try:
            images.check(row)
            images.image(row)
            images.objects(row)
            if not images.outlines_missing:
                images.masks(row)
        except UnreadableItemError:
            told = True
    return "told" if told or images.notes else "used"


def _check_boxes(place: Path, draw: random.Random, run: Path) -> str:
    return _check_annotations(_malformed("boxes", place, draw))


def _check_coco(place: Path, draw: random.Random, run: Path) -> str:
    _write_images(place, "ab")
    return _check_annotations(_malformed("coco", place, draw))


def _check_voc(place: Path, draw: random.Random, run: Path) -> str:
    for name in ("Annotations", "JPEGImages"):
        (place / name).mkdir()
    _write_images(place / "JPEGImages", "a")
    _malformed("voc", place / "Annotations", draw)
    return _check_annotations(place)


def _check_run(place: Path, draw: random.Random, run: Path) -> str:
    """Change a file of a run folder and call a command on it: it succeeds, or says why not."""
    copy = Path(shutil.copytree(run, place / "run"))
    files = [path for path in sorted(copy.rglob("*")) if path.is_file() and path.stat().st_size]
    path = draw.choice([path for path in files if path.suffix != ".npz"])
    path.write_bytes(mutated(path.read_bytes(), path.name, draw))
    command = draw.choice(COMMANDS)
    data = ["--data", str(run.parent / "photos")]
    further = {
        "report": ["--out", str(place / "report.html")],
        "export": ["--out", str(place / "weights")],
        "embed": [*data, "--out", str(place / "features.npz")],
        "evaluate": ["--protocol", "knn"],
        "resume": ["--max-steps", "6"],
    }[command]
    code, shown = call([command, str(copy), *further])
    where = f"{command} with {path.relative_to(copy)}: exit {code}, {shown[-300:]}"
    if "unexpected" in shown or "Traceback" in shown or code not in (0, 1, 2):
        raise FaultError(where)
    if code and not shown.splitlines()[-1].startswith("error: "):
        raise FaultError(where)
    return "told" if code else "used"


def call(arguments: Sequence[str]) -> tuple[int, str]:
    """Exit code and standard error of `sparring ARGUMENTS...` in this process."""
    sys.argv = ["sparring", *arguments]
    shown = io.StringIO()
    code = 0
    with contextlib.redirect_stderr(shown), contextlib.redirect_stdout(io.StringIO()):
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
    return code, shown.getvalue()


CHECKS: dict[str, Callable[[Path, random.Random, Path], str]] = {
    "images": _check_images,
    "lists": _check_lists,
    "parquet": _check_parquet,
    "shards": _check_shards,
    "boxes": _check_boxes,
    "coco": _check_coco,
    "voc": _check_voc,
    "run": _check_run,
}
