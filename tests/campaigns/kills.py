"""Kills: runs that are ended at any moment and continued, until they end as an undisturbed one.

A chain is one run. Each of its kills strikes at a change of a file (see `crash_points`), after a
random time, or asks the run to stop. In two of three the disk then loses what was not synchronised.
Afterwards the same is done to a command that reads the finished run.
"""

import random
import shutil
import signal
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

from sparring.training.checkpoint import kept_checkpoints, read_checkpoint

from .crash_points import Disk, Loss, lose, num_changes, read_trace
from .toy_runs import Child, Toy, differing, outcome, start, unreadable

LONGEST_SECONDS = 300
"""Time after which a command counts as hanging, on a machine that does other work as well."""
AFTER_A_DEATH_SECONDS = 60
"""Time within which the other processes end once one of them is dead."""
MOST_KILLS = 3
"""Most kills of one chain."""
READERS = ("report", "export", "embed", "evaluate")


@dataclass(frozen=True)
class Reference:
    """An undisturbed run of a toy.

    Attributes:
        toy: what is trained.
        recipe: file of its settings.
        photos: images.
        end: what it left behind.
        changes: number of changes of files, by command.
        seconds: duration of its training.
    """

    toy: Toy
    recipe: Path
    photos: Path
    end: dict[str, Any]
    changes: dict[str, int]
    seconds: float

    def arguments(self, command: str, root: Path) -> list[str]:
        """Words of a command on the run in this folder."""
        run = str(root / "run")
        data = ["--data", str(self.photos)]
        return {
            "train": ["train", *data, "--out", run, "--recipe", str(self.recipe)],
            "resume": ["resume", run],
            "report": ["report", run, "--out", str(root / "report.html")],
            "export": ["export", run, "--out", str(root / "weights.safetensors")],
            "embed": ["embed", run, *data, "--out", str(root / "features.npz")],
            "evaluate": ["evaluate", run, "--protocol", "knn"],
        }[command]


def reference(toy: Toy, photos: Path, scratch: Path) -> Reference:
    """Train a toy undisturbed, and call every command that reads the run."""
    root = scratch / f"reference {toy}"
    root.mkdir()
    recipe = toy.write_recipe(scratch / f"{toy}.toml")
    found = Reference(toy, recipe, photos, {}, {}, 0.0)
    for command in ("train", *READERS):
        begun = time.monotonic()
        trace, log = root.with_suffix(f".{command}"), root.with_suffix(".log")
        child = start(
            found.arguments(command, root),
            log=log,
            cache=root / "cache",
            processes=toy.processes if command == "train" else 1,
            disk=partial(Disk, root, trace),
        )
        codes = child.wait(LONGEST_SECONDS)
        assert not any(codes), f"{toy}: {command} ended with {codes}; {log.read_text()[-2000:]}"
        found.changes[command] = num_changes(read_trace(trace))
        if command == "train":
            found.end.update(outcome(root / "run"))
            found = Reference(**{**vars(found), "seconds": time.monotonic() - begun})
    return found


@dataclass
class Chain:
    """One run with its kills.

    Attributes:
        reference: undisturbed run.
        root: folder of this one.
        draw: draws of this chain.
        kills: kind of each kill that struck.
        faults: what went wrong.
    """

    reference: Reference
    root: Path
    draw: random.Random
    kills: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    _saved: int = 0
    _legs: int = 0

    def go(self) -> "Chain":
        """Kill and continue the run, then a command that reads it."""
        self.root.mkdir()
        try:
            self._go()
        except Exception as error:  # of reading what is left; the campaign goes on
            self._require(False, f"{type(error).__name__}: {error}")
        return self

    def _go(self) -> None:
        for _ in range(self.draw.randint(1, MOST_KILLS)):
            if self.faults or self._leg(self._next()):
                break
        while not self.faults and not self._leg(self._next(), is_struck=False):
            self._require(self._legs < 2 * MOST_KILLS + 2, "it comes to no end")
        if not self.faults:
            wrong = differing(self.reference.end, outcome(self.root / "run"))
            self._require(not wrong, f"ends otherwise: {', '.join(wrong)}; {self.kills}")
        if not self.faults:
            self._strike_a_reader(self.draw.choice(READERS))
        if not self.faults:
            shutil.rmtree(self.root)

    def _next(self) -> str:
        """Command that continues the run, as the messages say."""
        run = self.root / "run"
        if not (run / "config.toml").exists():
            return "train"
        last = run / "checkpoint" / "last.pt"
        if last.exists() or kept_checkpoints(last):
            return "resume"
        shutil.rmtree(run)
        return "train"

    def _strike_a_reader(self, command: str) -> None:
        self._leg(command)
        if not self.faults and self._leg(command, is_struck=False):
            wrong = differing(self.reference.end, outcome(self.root / "run"))
            wrong = [name for name in wrong if (name, command) != ("scores", "evaluate")]
            self._require(not wrong, f"{command} changed the run: {', '.join(wrong)}")

    def _leg(self, command: str, *, is_struck: bool = True) -> bool:
        """Run a command, which is killed on its way or not; whether it came to its end."""
        self._legs += 1
        kind = self.draw.choice(("change", "change", "time", "request")) if is_struck else "none"
        strike = self.draw.randint(1, self.reference.changes[_counted(command)])
        trace = self.root.with_suffix(f".{self._legs}")
        processes = self.reference.toy.processes if command in ("train", "resume") else 1
        child = start(
            self.reference.arguments(command, self.root),
            log=self.root.with_suffix(".log"),
            cache=self.root / "cache",
            processes=processes,
            disk=partial(Disk, self.root, trace, strike if kind == "change" else None),
        )
        is_struck = self._end(child, kind) if kind in ("time", "request") else kind == "change"
        codes = child.wait(AFTER_A_DEATH_SECONDS if kind == "time" else LONGEST_SECONDS)
        self._require(None not in codes, f"{command} hangs after a kill by {kind}")
        if not any(codes):
            return True
        if self._require(is_struck, f"{command} fails: {self._log()}"):
            self._after(kind, trace)
        return False

    def _end(self, child: Child, kind: str) -> bool:
        """Strike one process after a random time; True."""
        time.sleep(self.draw.random() * self.reference.seconds)
        number = signal.SIGKILL if kind == "time" else signal.SIGTERM
        child.strike(number, self.draw.randrange(len(child.numbers)))
        return True

    def _after(self, kind: str, trace: Path) -> None:
        """Lose what was not synchronised, and check what is left."""
        notes = read_trace(trace)
        loss: Loss = self.draw.choice(get_args(Loss)) if kind != "request" else "nothing"
        self.kills.append(f"{kind}, {loss} lost")
        lose(self.root, notes, loss)
        self._saved = max([self._saved, *(note[1] for note in notes if note[0] == "saved")])
        run = self.root / "run"
        what = f"after a kill by {kind} at {notes[-2:]} with {loss} lost"
        for each in unreadable(run):
            self._require(False, f"{what} unreadable: {each}")
        if not self.faults:
            last = run / "checkpoint" / "last.pt"
            found = read_checkpoint(last)["step"] if last.exists() else 0
            self._require(found >= self._saved, f"{what}: step {found}, {self._saved} was saved")
        page = self.root / "report.html"
        whole = not page.exists() or page.read_bytes().rstrip().endswith(b"</html>")
        self._require(whole, f"{what}: a part of a report")

    def _require(self, holds: bool, fault: str) -> bool:
        if not holds:
            self.faults.append(f"{self.reference.toy}, {self.root.name}: {fault}")
        return holds

    def _log(self) -> str:
        return self.root.with_suffix(".log").read_text(errors="replace")[-800:]


def _counted(command: str) -> str:
    """Command whose number of changes is known."""
    return "train" if command == "resume" else command


def chain_of(of: Reference, root: Path, name: str) -> Chain:
    """Go through one chain, whose draws follow from its name."""
    return Chain(of, root, random.Random(name)).go()
