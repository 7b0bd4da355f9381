"""What happens when a stranger gives a folder of photographs to this library and to its peers.

    benchmarks/setup
    python benchmarks/try_peers.py --images pacs-96px.parquet
    python benchmarks/try_peers.py --images pacs-96px.parquet --only resume

Makes a folder of 300 photographs in class folders, 100 more to score on, and the same folder with
six odd files, which can be read or not. Each library trains SimCLR on it by the shortest way that
its documentation shows, with equal settings: ResNet-18 with ImageNet's stem, 64 px, batches of 64,
2 epochs, CPU. Prints for each command its seconds, its CPU seconds (one thread, imports included),
the exit code, the lines that it printed, what it wrote and its last line. docs/why.md has the
answers; ratios of speed are in docs/log/whole-loop.md.

`--images` is a parquet file with columns of images (`bytes`), `label` and `domain`: PACS, of whose
four domains the photographs are used.
"""

import argparse
import hashlib
import io
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet
from PIL import Image

HERE = Path(__file__).parent
PHOTOGRAPHS = 2
"""PACS's number of the domain of photographs."""
CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
EXIF_ORIENTATION, TURNED = 0x0112, 6


@dataclass(frozen=True)
class Tried:
    """What a command did."""

    seconds: float
    cpu_seconds: float
    code: int
    lines: list[str]
    """What it printed, to both streams."""
    written: int
    """Bytes below its output folder."""

    def __str__(self) -> str:
        last = next((line for line in reversed(self.lines) if line.strip()), "")
        return (
            f"{self.seconds:.0f} s, {self.cpu_seconds:.0f} s of CPU, exit {self.code}, "
            f"{len(self.lines)} lines, {self.written / 1e6:.1f} MB written; "
            f"last line: {last.strip()[:200]}"
        )


def photographs(images: Path) -> Iterator[tuple[bytes, int]]:
    """Encoded photographs of a parquet file and their classes, in its order."""
    for row in pyarrow.parquet.read_table(images).to_pylist():
        if row["domain"] == PHOTOGRAPHS:
            yield row["image"]["bytes"], row["label"]


def write_folders(images: Path, work: Path) -> None:
    """`plain`, `test` and `odd` below `work`: class folders of JPEG files."""
    kept = [pair for number, pair in enumerate(photographs(images)) if number % 4 == 0][:400]
    for number, (content, label) in enumerate(kept):
        part = "test" if number % 4 == 3 else "plain"
        path = work / part / CLASSES[label] / f"{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.open(io.BytesIO(content)).convert("RGB").save(path, quality=95)
    shutil.copytree(work / "plain", work / "odd")
    write_odd_files(next((work / "odd").glob("*/*.jpg")))


def write_odd_files(good: Path) -> None:
    """Six odd files beside a good one."""
    folder, image = good.parent, Image.open(good)
    content = good.read_bytes()
    (folder / "truncated.jpg").write_bytes(content[: len(content) // 2])
    (folder / "text.jpg").write_text("This is no picture.\n")
    image.convert("L").save(folder / "grey.jpg")
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.convert("I").point(lambda value: value * 257).convert("I;16").save(folder / "deep.png")
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = TURNED
    image.save(folder / "turned.jpg", exif=exif)


def size(folder: Path) -> int:
    """Bytes of all files below a folder or of a file."""
    files = folder.rglob("*") if folder.is_dir() else [folder]
    return sum(path.stat().st_size for path in files if path.is_file())


def children() -> float:
    """CPU seconds of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def attempt(command: list[str], out: Path, *, limit: float = 3600) -> Tried:
    """Run a command that writes to `out`, for at most `limit` seconds."""
    start, before = time.perf_counter(), children()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=quiet(),
        start_new_session=True,  # so that workers of a loader end with it
    )
    try:
        text, code = process.communicate(timeout=limit)[0], process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        text, code = process.communicate()[0] + "stopped by the time limit", 124
    seconds, cpu = time.perf_counter() - start, children() - before
    return Tried(seconds, cpu, code, text.splitlines(), size(out) if out.exists() else 0)


def quiet() -> dict[str, str]:
    """The environment without anything that is sent, and with one thread."""
    switches = {"LIGHTLY_TRAIN_EVENTS_DISABLED": "1", "WANDB_MODE": "disabled"}
    return {**os.environ, **switches, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


def commands(
    peers: Path, data: Path, test: Path, out: Path, *, epochs: int = 2, batch: int = 64
) -> dict[str, list[str]]:
    """Each library's command that trains on a folder."""
    scripts = HERE / "entrants"
    python = str(peers / "python")
    return {
        "sparring": [
            *(sys.executable, "-m", "sparring", "train", "--data", str(data), "--out", str(out)),
            *("--method", "simclr", "--epochs", str(epochs), "--batch-size", str(batch)),
            *("--image-size", "64", "--set", "encoder.small_images=false"),
            *("--set", "training.checkpoint_minutes=0" if epochs > 2 else "seed=0"),
        ],
        "lightly-train": [
            *(str(peers / "lightly-train"), "pretrain", f"out={out}", f"data={data}"),
            *(
                "model=torchvision/resnet18",
                "method=simclr",
                f"epochs={epochs}",
                f"batch_size={batch}",
            ),
            *("accelerator=cpu", "num_workers=0", "transform_args.image_size=[64,64]"),
        ],
        "lightly": [python, str(scripts / "folder_lightly.py"), str(data), str(out), str(epochs)],
        "lightly's command": [
            *(str(peers / "lightly-ssl-train"), f"input_dir={data}", "pre_trained=False"),
            *(f"trainer.max_epochs={epochs}", "loader.batch_size=64", "loader.num_workers=0"),
            f"hydra.run.dir={out}",
        ],
        "stable-pretraining": [
            *(python, str(scripts / "folder_stable_pretraining.py"), str(data), str(test)),
            *(str(out), str(epochs)),
        ],
    }


def wrong_words(peers: Path, data: Path, out: Path) -> dict[str, list[str]]:
    """Commands with a misspelt setting or name, and a call for help."""
    ours = [sys.executable, "-m", "sparring"]
    theirs = [str(peers / "lightly-train"), "pretrain", f"out={out}", f"data={data}"]
    right = ["model=torchvision/resnet18", "method=simclr", "accelerator=cpu"]
    return {
        "sparring, help": [*ours, "--help"],
        "sparring, epoch": [*ours, *f"train --data {data} --out {out} --epoch 1".split()],
        "sparring, simclrr": [*ours, *f"train --data {data} --out {out} --method simclrr".split()],
        "lightly-train, help": [str(peers / "lightly-train"), "--help"],
        "lightly-train, epoch": [*theirs, *right, "epoch=1"],
        "lightly-train, simclrr": [*theirs, right[0], "method=simclrr", right[2]],
        "lightly, help": [str(peers / "lightly-ssl-train"), "--help"],
        "stable-pretraining, help": [str(peers / "spt"), "--help"],
    }


def killed(command: list[str], sign: Path, *, after: float, limit: float = 300) -> float:
    """Seconds until a command was killed: `after` seconds after the file `sign` appeared.

    Raises:
        TimeoutError: if the file does not appear, or the command ends first.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=quiet(),
        start_new_session=True,
    )
    try:
        while not sign.exists():
            if process.poll() is not None or time.perf_counter() - start > limit:
                raise TimeoutError(f"{sign} did not appear while {command[0]} ran")
            time.sleep(0.1)
        time.sleep(after)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return time.perf_counter() - start


DIGEST = """
import sys, torch, hashlib
held = torch.load(sys.argv[1], map_location="cpu", weights_only=True)
held = held.get("model", held) if isinstance(held, dict) else held
total = hashlib.sha256()
for name in sorted(held):
    total.update(held[name].contiguous().numpy().tobytes())
print(total.hexdigest()[:12])
"""


def digest(weights: Path, python: str) -> str:
    """Twelve digits for a file of weights, equal if and only if all bits are."""
    if weights.suffix == ".safetensors":
        return hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
    done = subprocess.run(
        [python, "-c", DIGEST, str(weights)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def try_resuming(peers: Path, data: Path, work: Path, names: list[str]) -> None:
    """Kill a run soon after its first checkpoint, continue it, and compare its weights' bits with
    those of two runs that were not killed."""
    signs = {"sparring": "checkpoint/last.pt", "lightly-train": "checkpoints/last.ckpt"}
    for name, sign in signs.items():
        if names and name not in names:
            continue
        root, weights = work / name, {}
        for part in ("whole", "again", "killed"):
            out = root / part
            command = commands(peers, data, data, out, epochs=4, batch=32)[name]
            if part != "killed":
                print(name, part, attempt(command, out), flush=True)
            else:
                print(name, "killed after", f"{killed(command, out / sign, after=1):.0f} s")
                continued = (
                    [sys.executable, "-m", "sparring", "resume", str(out)]
                    if name == "sparring"
                    else [*command, "resume_interrupted=true"]
                )
                print(name, "continued", attempt(continued, out), flush=True)
            weights[part] = digest_of_run(name, out, peers)
        print(name, weights, flush=True)


def digest_of_run(name: str, out: Path, peers: Path) -> str:
    """The digest of a run's backbone."""
    if name != "sparring":
        return digest(out / "exported_models" / "exported_last.pt", str(peers / "python"))
    file = out.parent / f"{out.name}.safetensors"
    command = ["export", str(out), "--format", "safetensors", "--out", str(file)]
    subprocess.run([sys.executable, "-m", "sparring", *command], check=True, capture_output=True)
    return digest(file, sys.executable)


def main() -> None:
    """Make the folders, try, and print a line for each command."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--images", type=Path, required=True, help="parquet file with PACS")
    options.add_argument("--work", type=Path, required=True, help="folder to create")
    options.add_argument("--peers", type=Path, default=HERE / ".peers" / "bin")
    options.add_argument("--only", choices=("plain", "odd", "words", "resume"))
    options.add_argument("--library", action="append", help="only this one; repeatable")
    chosen = options.parse_args()
    work, peers = chosen.work.resolve(), chosen.peers.absolute()
    if not (work / "plain").exists():
        write_folders(chosen.images, work)
    for part in ("plain", "odd"):
        for name, command in commands(peers, work / part, work / "test", work / "x").items():
            if chosen.only not in (None, part) or (chosen.library and name not in chosen.library):
                continue
            out = work / f"{part}-{name.split()[0]}{len(name)}"
            command = [word.replace(str(work / "x"), str(out)) for word in command]
            tried = attempt(command, out)
            (work / f"{out.name}.log").write_text("\n".join([*command, *tried.lines]))
            print(f"{part} {name}: {tried}", flush=True)
    if chosen.only in (None, "words"):
        for name, command in wrong_words(peers, work / "plain", work / "never").items():
            print(f"words {name}: {attempt(command, work / 'never')}", flush=True)
    if chosen.only in (None, "resume"):
        try_resuming(peers, work / "test", work / "resumed", chosen.library or [])


if __name__ == "__main__":
    main()
