"""One visit to a GPU: runs of kept studies, as many as fit into the minutes.

    python benchmarks/gpu_study.py --plans studies/A/plan.toml [studies/B/plan.toml ...]
        --minutes 9 --out OUT [--workers N] [--data FOLDER] [--encoders] [--work FOLDER] [--cpu]

Takes the plans in turn. Records in studies/A/records count where settings, images, seed and
version of the library are those of the plan, whatever machine made them
(`sparring.studies.keeping`); the other runs are made as `sparring compare --minutes` makes them. A
run that is not finished at the end is lost with the machine, unless --work names a folder that
stays: then the next call goes on. Of a plan of equal time, steps are measured unless every arm has
a kept run, whose lengths then hold.

OUT gets few files with plain names, all smaller than 16 MB. records.tar.gz has the new records,
written anew after every run, slim as scripts/keep-study writes them:

    tar xzf OUT/records.tar.gz -C studies

puts them into studies/A/records. visit.json has the machine and the table, which is printed last.
--encoders adds encoders-1.safetensors to -4 at most, the backbones in float16;
`half_encoders.py` takes them apart.

--data names a folder with the images of the plans, by their file names, if they lie elsewhere than
the plans say. --needs prints what a visit has to take along, and ends. --cpu tries the plans at toy
size: 256 images, width 0.0625, one epoch, two seeds.

It has not been run on a GPU: the time that is kept for the end of a visit is a guess.
"""

import time

START = time.monotonic()

import argparse  # noqa: E402
import io  # noqa: E402
import sys  # noqa: E402
import tarfile  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Mapping, Sequence  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from PIL import Image  # noqa: E402

import sparring  # noqa: E402
from entrants.pictures import small  # noqa: E402
from gpu_machine import machine_of, write  # noqa: E402
from half_encoders import write_halves  # noqa: E402
from sparring.api.comparison import Comparison  # noqa: E402
from sparring.config import Tree, merged  # noqa: E402
from sparring.errors import SparringError  # noqa: E402
from sparring.files import write_atomically  # noqa: E402
from sparring.studies import history  # noqa: E402
from sparring.studies.folder import StudyFolder  # noqa: E402
from sparring.studies.keeping import counting, kept_step_seconds, slim  # noqa: E402
from sparring.studies.plan import Study  # noqa: E402
from sparring.studies.reading import read_plan  # noqa: E402
from sparring.studies.records import RunRecord, planned_runs  # noqa: E402

END_SECONDS, TOY_END_SECONDS = 25.0, 2.0
"""Kept for the end of a visit: runs that are stopped, pages, encoders."""
REFUSED = "not made: "
LEAST_SECONDS = 5.0
"""Time without which a plan is not begun."""
TOY: Tree = {
    "encoder": {"width": 0.0625},
    "data": {"limit": 256},
    "training": {"batch_size": 128, "monitor_epochs": 1, "monitor_images": 64},
}
TOY_TRAIN, TOY_TEST = 512, 128
SOURCE = ("src", "benchmarks", "pyproject.toml")
WHEELS = (
    "pydantic",
    "pydantic-core",
    "annotated-types",
    "typing-inspection",
    "rich",
    "jaxtyping",
    "wadler-lindig",
    "beartype",
)
"""Packages that machines with PyTorch often lack, as wheels for their Python."""


@dataclass
class Visited:
    """One study of the visit.

    Attributes:
        name: folder of its plan.
        study: its plan, as it is made here.
        kept: records that were there, as they count here.
        folder: where its runs are made.
        done: what was found; None if there was no time.
        note: why it was not begun, or not finished.
    """

    name: str
    study: Study
    kept: tuple[RunRecord, ...]
    folder: StudyFolder
    done: Comparison | None = None
    note: str = ""

    def new(self) -> list[RunRecord]:
        """Finished runs that the repository does not have."""
        known = {one.name for one in self.kept}
        return [
            one
            for one in self.folder.readable_records()
            if one.status == "finished" and one.name not in known
        ]

    def row(self) -> dict[str, Any]:
        """The study in numbers: runs, and mean and deviation of each arm in points."""
        planned, failed = len(planned_runs(self.study)), self.done.failed if self.done else []
        arms = self.done.arms() if self.done else []
        return {
            "study": self.name,
            "planned": planned,
            "kept": len(self.kept),
            "new": len(self.new()),
            "failed": {str(one.name): one.attempts[-1].outcome for one in failed if one.attempts},
            "note": self.note,
            "arms": [
                {"arm": one.arm, "runs": one.seeds, "mean": one.mean, "sd": one.sd}
                | {"seconds of training": one.seconds}
                for one in arms
            ],
        }


class VisitListener:
    """Listener that shows the lines of the studies and takes records home as they are made."""

    def __init__(self, studies: Sequence[Visited], out: Path) -> None:
        self._studies, self._out = studies, out

    def report(self, line: str) -> None:
        """Show a line, with the time of the visit."""
        print(f"  {time.monotonic() - START:4.0f} s  {line}", file=sys.stderr, flush=True)

    def count(self, what: str, done: int, total: int) -> None:
        """Take the records home."""
        write_records(self._studies, self._out)

    def observe(self, *_: object) -> None:
        """Nothing: runs are made in other processes."""


def toy(study: Study, place: Path) -> Study:
    """The study at toy size, on the first images of its files; on noise if one is missing."""
    are_there = all(Path(one).is_file() for one in images_of(study))

    def smaller(tree: Tree) -> Tree:
        """Settings of an arm."""
        return merged(tree, TOY)

    def cut(text: str, number: int) -> str:
        """File of the first images of a file."""
        if not text:
            return text
        path = place / Path(text).name
        table = pq.read_table(text) if are_there else noise(number)
        pq.write_table(table.slice(0, number), path)
        return str(path)

    place.mkdir(parents=True, exist_ok=True)
    arms = tuple(arm.model_copy(update={"settings": smaller(arm.settings)}) for arm in study.arms)
    tests = tuple(
        test.model_copy(
            update={
                "data": cut(test.data, TOY_TEST),
                "train_data": cut(test.train_data, TOY_TRAIN),
            }
        )
        for test in study.tests
    )
    update = {"arms": arms, "tests": tests, "data": cut(study.data, TOY_TRAIN), "epochs": 1}
    update["equal"] = "images"
    return study.model_copy(
        update={**update, "seeds": study.seeds[:2], "looks": (), "device": "cpu", "threads": 1}
    )


def noise(number: int) -> pa.Table:
    """Images of noise of ten classes, as a table of the columns image and label."""
    rows = []
    for picture in small(number):
        content = io.BytesIO()
        Image.fromarray(picture).save(content, "PNG")
        rows.append({"bytes": content.getvalue(), "path": None})
    return pa.table({"image": rows, "label": [one % 10 for one in range(number)]})


def images_of(study: Study) -> list[str]:
    """Files of images that a study reads."""
    found = [study.data, *(one for test in study.tests for one in (test.data, test.train_data))]
    return list(dict.fromkeys(one for one in found if one))


def with_images_in(study: Study, folder: Path) -> Study:
    """The study with those of its images that lie in a folder taken from there."""

    def there(text: str) -> str:
        """The file of that name in the folder, if there is one."""
        path = folder / Path(text).name
        return str(path.resolve()) if text and path.exists() else text

    tests = tuple(
        test.model_copy(update={"data": there(test.data), "train_data": there(test.train_data)})
        for test in study.tests
    )
    return study.model_copy(update={"data": there(study.data), "tests": tests})


def read(plan: Path, options: argparse.Namespace) -> Study:
    """The study of a plan as it is made here.

    Raises:
        SystemExit: if it cannot be made here.
    """
    study = read_plan(plan)
    if options.data is not None:
        study = with_images_in(study, options.data)
    if options.cpu:
        return toy(study, options.work / "images" / plan.parent.name)
    if study.device == "cpu":
        raise SystemExit(f"error: {plan}: device = 'cpu' is no study for a GPU; auto is")
    for one in images_of(study):
        if not Path(one).exists():
            raise SystemExit(f"error: {plan}: no file {one}; see --needs, and --data FOLDER")
    return study


def visited(plan: Path, options: argparse.Namespace) -> Visited:
    """The study of a plan before its first run here; kept records lie beside it as a study."""
    study, name = read(plan, options), plan.absolute().parent.name
    folder = StudyFolder(options.work / "studies" / name)
    kept = StudyFolder(plan.parent)
    records = kept.readable_records()
    seconds = kept_step_seconds(records, study)
    if seconds and not folder.is_study():
        history.written(folder, study, step_seconds=seconds)
    is_counted = study.equal == "images" or bool(history.step_seconds(folder, study))
    found = counting(records, study, folder) if is_counted else ()
    beside = StudyFolder(options.work / "studies" / f"{name} kept")
    beside.path.mkdir(parents=True, exist_ok=True)
    beside.plan.write_text(history.plan_text(study), encoding="utf-8")
    for record in found:
        beside.write_record(record)
    others = len(records) - len(found)
    print(f"{name}: {len(found)} kept records count, {others} do not", file=sys.stderr, flush=True)
    return Visited(name, study, found, folder)


def make(one: Visited, seconds: float, workers: int | None, listener: VisitListener) -> None:
    """Make the runs of a study that fit into the time."""
    if seconds < LEAST_SECONDS:
        one.note = "no time"
        return
    try:
        one.done = sparring.compare(
            one.study,
            out=one.folder.path,
            workers=workers,
            minutes=seconds / 60,
            listener=listener,
        )
    except SparringError as error:
        one.note = f"{REFUSED}{error}"
    else:
        one.note = "" if one.done.is_over else "goes on"


def write_records(studies: Sequence[Visited], out: Path) -> None:
    """Write all new records as an archive, or replace it."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for one in studies:
            for record in one.new():
                text = slim(record).encoded()
                entry = tarfile.TarInfo(f"{one.name}/records/{one.folder.place(record.name)}.json")
                entry.size, entry.mtime = len(text), int(time.time())
                archive.addfile(entry, io.BytesIO(text))
    write_atomically(out / "records.tar.gz", content.getvalue())


def write_encoders(studies: Sequence[Visited], out: Path) -> None:
    """Write the encoders of the runs that were made here, while there is room."""
    found = {
        f"{one.name}/{one.folder.place(record.name)}": backbone
        for one in studies
        for record in one.new()
        if (backbone := one.folder.run(record.name) / "backbone.safetensors").is_file()
    }
    if left_out := write_halves(found, out):
        print(f"no room for the encoders of {', '.join(left_out)}")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Studies and arms in points on the primary measure."""
    lines = []
    for row in rows:
        count = row["kept"] + row["new"]
        head = f"{row['study']}: {count} of {row['planned']} runs, {row['new']} of them new"
        lines += ["", f"{head}; {row['note']}" if row["note"] else head]
        for arm in row["arms"]:
            mean = "-" if arm["mean"] is None else f"{arm['mean']:.2f}"
            sd = "-" if arm["sd"] is None else f"{arm['sd']:.2f}"
            seconds = arm["seconds of training"]
            took = "-" if seconds is None else f"{seconds:.0f} s"
            lines.append(f"  {arm['arm']:40} {arm['runs']:3} {mean:>7} {sd:>6} {took:>8}")
        for why, names in grouped(row["failed"]).items():
            lines.append(f"  {len(names)} failed: {why} ({', '.join(names)})")
    return "\n".join(lines)


def grouped(failed: Mapping[str, str]) -> dict[str, list[str]]:
    """Runs by the reason for which they failed."""
    found: dict[str, list[str]] = {}
    for name, why in failed.items():
        found.setdefault(why, []).append(name)
    return found


def needs(plans: Sequence[Path], options: argparse.Namespace) -> str:
    """What a visit to these plans has to take along, in MB."""
    files = {file for plan in plans for file in (plan, *plan.parent.glob("records/*.json"))}
    images: dict[str, int | None] = {}
    for plan in plans:
        study = read_plan(plan)
        study = study if options.data is None else with_images_in(study, options.data)
        for one in images_of(study):
            path = Path(one).resolve()
            images[str(path)] = path.stat().st_size if path.is_file() else None
    root = Path(__file__).parents[1]
    source = [path for name in SOURCE[:2] for path in (root / name).rglob("*.py")]
    total = sum(path.stat().st_size for path in (*files, *source))
    total += sum(size or 0 for size in images.values())
    return "\n".join(
        [
            f"source:  git archive HEAD {' '.join(SOURCE)}",
            f"wheels:  what the machine lacks of {', '.join(WHEELS)}",
            f"studies: {len(plans)} plans, {len(files) - len(plans)} kept records",
            *(
                f"images:  {path} ({'missing here' if size is None else f'{size / 1e6:.1f} MB'})"
                for path, size in images.items()
            ),
            f"in all {total / 1e6:.1f} MB without wheels and data files of src",
        ]
    )


def parsed() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--plans", type=Path, nargs="+", required=True, metavar="PLAN.toml")
    parser.add_argument("--minutes", type=float, default=9.0, help="of the visit; default 9")
    parser.add_argument("--out", type=Path, help="folder for what is taken home")
    parser.add_argument("--workers", type=int, help="runs at the same time; default one per GPU")
    parser.add_argument("--data", type=Path, help="folder of images, by the plans' file names")
    parser.add_argument("--work", type=Path, help="folder for the runs; default: a temporary one")
    parser.add_argument("--encoders", action="store_true", help="take backbones home too")
    parser.add_argument("--needs", action="store_true", help="print what a visit needs, and end")
    parser.add_argument("--cpu", action="store_true", help="everything at toy size on the CPU")
    options = parser.parse_args()
    if options.out is None and not options.needs:
        parser.error("give --out, a folder for what is taken home")
    return options


def visit(options: argparse.Namespace) -> None:
    """Make runs, print and write."""
    machine = machine_of(options)
    end = START + 60 * options.minutes - (TOY_END_SECONDS if machine.is_toy else END_SECONDS)
    options.out.mkdir(parents=True, exist_ok=True)
    studies = [visited(plan, options) for plan in options.plans]
    listener = VisitListener(studies, options.out)
    for one in studies:
        make(one, end - time.monotonic(), options.workers, listener)
    write_records(studies, options.out)
    if options.encoders:
        write_encoders(studies, options.out)
    rows = [one.row() for one in studies]
    seconds = time.monotonic() - START
    write(options.out / "visit.json", machine, rows, seconds=seconds, workers=options.workers)
    print(f"{machine.facts()['device']}, {seconds:.0f} s{table(rows)}")
    if any(row["failed"] or row["note"].startswith(REFUSED) for row in rows):
        raise SystemExit(1)


def main() -> None:
    """One visit, or what it needs."""
    options = parsed()
    try:
        if options.needs:
            print(needs(options.plans, options))
        elif options.work is not None:
            visit(options)
        else:
            with tempfile.TemporaryDirectory() as place:
                options.work = Path(place)
                visit(options)
    except SparringError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
