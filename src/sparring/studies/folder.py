"""The folder of a study: its files, and which of them are kept in a repository."""

from contextlib import suppress
from pathlib import Path

from sparring.errors import RunError
from sparring.files import write_atomically
from sparring.regular_files import read_bytes
from sparring.studies.records import RunName, RunRecord


class StudyFolder:
    """Paths and small files of one study.

    `plan.toml`, `history.json` and `records/` hold all that tables and figures need; they are small
    and can be kept under version control. `runs/` holds the run folders.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.plan = self.path / "plan.toml"
        self.history = self.path / "history.json"
        self.records = self.path / "records"
        self.runs = self.path / "runs"
        self.attempts = self.path / "attempts"
        self.predictions = self.path / "predictions"

    def is_study(self) -> bool:
        """Whether the folder holds a study."""
        return self.plan.is_file()

    def require(self) -> None:
        """Raise an error if the folder holds no study.

        Raises:
            RunError: if there is no plan.toml.
        """
        if not self.is_study():
            raise RunError(
                f"{self.path} is not a study (no plan.toml); give the --out of a `sparring compare`"
            )

    def place(self, name: RunName) -> str:
        """Path of a run below `runs` and, with `.json`, below `records`."""
        parts = [name.arm.replace("/", "-"), f"seed-{name.seed}"]
        if name.share != 1.0:
            parts.append(f"share-{name.share:g}")
        if name.budget == "time":
            parts.append("equal-time")
        return "-".join(parts)

    def run(self, name: RunName) -> Path:
        """Run folder of a run."""
        return self.runs / self.place(name)

    def inside(self, place: str) -> Path:
        """Path of a file that a record names, below the study's folder.

        Raises:
            RunError: if it leads elsewhere.
        """
        with suppress(OSError, ValueError, RuntimeError):
            if (self.path / place).resolve().is_relative_to(self.path.resolve()):
                return self.path / place
        raise RunError(f"{place} is not below {self.path}, and a record names files of its study")

    def write_record(self, record: RunRecord) -> None:
        """Write or replace the record of a run."""
        self.records.mkdir(parents=True, exist_ok=True)
        write_atomically(self.records / f"{self.place(record.name)}.json", record.encoded())

    def readable_records(self) -> tuple[RunRecord, ...]:
        """Records that can be read, in the order of their file names; damaged ones are left out."""
        found = []
        for path in sorted(self.records.glob("*.json")):
            with suppress(OSError, ValueError):
                found.append(RunRecord.decoded(read_bytes(path)))
        return tuple(found)

    def read_records(self) -> tuple[RunRecord, ...]:
        """All records, in the order of their file names.

        Raises:
            RunError: if one is damaged.
        """
        found = []
        for path in sorted(self.records.glob("*.json")):
            try:
                found.append(RunRecord.decoded(read_bytes(path)))
            except (OSError, ValueError) as error:
                raise RunError(
                    f"{path} is damaged ({error}); remove it, and `sparring compare` makes it again"
                ) from None
        return tuple(found)
