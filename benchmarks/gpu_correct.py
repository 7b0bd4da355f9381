"""Is what a GPU computes right: every method, opponent, protocol and export, in three minutes.

    python benchmarks/gpu_correct.py [--cpu] [--out correct.json] [--only WORD] [--minutes 3]

Prints a table "what | holds | measured", line by line as it is found, and ends with exit code 1 if
something does not hold. A failure does not stop the rest; what the time was too short for reads
"not run". Images are made: two colours of noise,
16 pixels; ResNet-18 at a quarter of its width. The references run on the CPU in float32.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpu_machine import Machine, arguments, machine_of, write
from sparring import api
from sparring.acceleration.compiled import Compiler, gradients_of_images_only
from sparring.config import Tree, merged
from sparring.contract.toy import BASE, SIZE
from sparring.data.views import static_views
from sparring.data.views.view_settings import ViewsSettings
from sparring.data.views.views import PRESETS, Views, draw_parameters, view_by_tensors
from sparring.errors import TrainingError
from sparring.evaluation.catalogue import PROTOCOLS
from sparring.methods import registry
from sparring.methods.method import Context
from sparring.models.view import as_views
from sparring.seeding import generator
from sparring.training.build import build
from sparring.training.metrics import read_metrics
from sparring.training.opening import open_images
from sparring.training.run import prepare
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS / place) for place in ("", "contract", "evaluation/segmentation")]

STEPS = 5
REPEATABLE: Tree = {"training": {"deterministic": True, "compile": "off"}}
"""Not compiled, which the long plan of the run that is killed would be: it takes a minute."""
FLOAT32, BFLOAT16, PIXELS = 1e-4, 1e-2, 1e-5
"""Largest relative differences of losses, and largest difference of pixels in [0, 1]."""
COMPILED = ("simclr", "mocov2", "simclr+perturbation")
"""Games whose compiled networks are checked: one pass, a teacher, and an attack; a compilation
takes a quarter of a minute."""
FEW = ("adco", "simclr+perturbation")
"""Games that are tried at toy size."""

Outcome = tuple[bool, str]
"""Whether it holds, and what was measured."""


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    what: str
    holds: str
    measured: str


@dataclass(frozen=True)
class Place:
    """Where everything happens."""

    machine: Machine
    folder: Path

    def new(self, name: str) -> Path:
        """A folder that is not there yet."""
        return Path(tempfile.mkdtemp(prefix=f"{name.replace('+', '-')}-", dir=self.folder)) / "run"


def names() -> list[str]:
    """Every method, and every opponent around one."""
    return [
        *registry.shipped("method"),
        "simclr+perturbation",
        "adco+perturbation",
        "simclr+generator-pair",
        "mocov2+perturbation+generator-pair",
    ]


def settings_of(name: str, *, width: float) -> Tree:
    """Settings under which every opponent takes part within a few steps."""
    method, *opponents = name.split("+")
    own = dict(registry.method_class(method).toy.small)
    around = [
        {registry.section_of(each): dict(registry.opponent_class(each).toy.small)}
        for each in opponents
    ]
    return merged(BASE, own, *around, {"encoder": {"width": width, "small_images": True}})


def images() -> Tensor:
    """64 images of two colours, uint8."""
    from tiny import tiny_images

    return torch.from_numpy(tiny_images(32)[0]).permute(0, 3, 1, 2).contiguous()


def _last(batch: Tensor) -> Any:
    """Images as an array with the channels last."""
    return batch.permute(0, 2, 3, 1).numpy()


def train(
    place: Place, name: str, out: Path, *changes: Tree, data: Any = None, **training: Any
) -> api.Run:
    """A run of some steps, on the device unless another is given."""
    method, *opponents = name.split("+")
    width = 0.0625 if place.machine.is_toy else 0.25
    fixed = {"device": place.machine.device.type, "epochs": 6, "max_steps": STEPS}
    return api.train(
        images() if data is None else data,
        out=out,
        method=method,
        opponent=opponents,
        settings=merged(
            settings_of(name, width=width), *changes, {"training": {**fixed, **training}}
        ),
        progress=False,
    )


def losses(run: api.Run) -> Tensor:
    """Loss of every step."""
    return torch.tensor([record["loss"] for record in read_metrics(run.path / "metrics.jsonl")])


def difference(found: Tensor, expected: Tensor) -> float:
    """Largest relative difference."""
    return float(((found - expected).abs() / expected.abs().clamp_min(1e-6)).max())


def as_on_the_cpu(place: Place, name: str) -> Outcome:
    """First losses in float32 and in bfloat16, beside the CPU's."""
    cpu = losses(
        train(place, name, place.new(name), device="cpu", precision="float32", max_steps=1)
    )
    full, half = (
        losses(train(place, name, place.new(name), precision=precision))
        for precision in ("float32", "bfloat16")
    )
    found = difference(full[:1], cpu), difference(half[:1], cpu)
    is_finite = bool(full.isfinite().all() and half.isfinite().all())
    # A network of toy size has fewer channels over which rounding evens out.
    limit = BFLOAT16 * (4 if place.machine.is_toy else 1)
    holds = found[0] <= FLOAT32 and found[1] <= limit and is_finite
    return holds, f"float32 {found[0]:.1e}, bfloat16 {found[1]:.1e}, {STEPS} steps"


def left_behind(run: api.Run) -> tuple[bytes, list[float]]:
    """What two equal runs have in common."""
    return (run.path / "backbone.safetensors").read_bytes(), losses(run).tolist()


def repeats(place: Place, name: str) -> Outcome:
    """Two runs, and one that stopped in the middle and was resumed."""
    one, two = (left_behind(train(place, name, place.new(name), REPEATABLE)) for _ in range(2))
    parts = train(place, name, place.new(name), REPEATABLE, max_steps=2)
    resumed = left_behind(api.resume(parts, data=images(), max_steps=STEPS, progress=False))
    words = [
        f"{what} {'equal' if same else 'differ'}"
        for what, same in (("two runs", one == two), ("resumed", one == resumed))
    ]
    return one == two == resumed, ", ".join(words)


def killed(place: Place) -> Outcome:
    """A process that is killed while it trains, and its run resumed."""
    out = place.new("killed")
    options = ["--cpu"] if place.machine.is_toy else []
    child = subprocess.Popen([sys.executable, __file__, "--train-until-killed", str(out), *options])
    metrics, until = out / "metrics.jsonl", time.monotonic() + 60
    while child.poll() is None and time.monotonic() < until:
        if metrics.exists() and len(metrics.read_text().splitlines()) >= 3:
            break
        time.sleep(0.02)
    child.kill()
    child.wait()
    made = len(read_metrics(metrics))
    run = api.resume(out, data=images(), max_steps=made + 3, progress=False)
    whole = train(place, "adco", place.new("whole"), REPEATABLE, epochs=1000, max_steps=made + 3)
    same = left_behind(run) == left_behind(whole)
    words = f"killed after {made} steps, {'equal' if same else 'not equal'} to a run without"
    return same, words


def train_until_killed(place: Place, out: Path) -> None:
    """A long run that saves after every step."""
    train(place, "adco", out, REPEATABLE, epochs=1000, max_steps=None, checkpoint_minutes=0.0)


def loss_and_gradients(
    place: Place, name: str, compile_setting: str, precision: str = "float32"
) -> list[Tensor]:
    """Loss and all gradients of the encoder's player at the first step."""
    method, *opponents = name.split("+")
    width = 0.0625 if place.machine.is_toy else 0.25
    training = {
        "device": place.machine.device.type,
        "precision": precision,
        "compile": compile_setting,
    }
    tree = merged(
        settings_of(name, width=width),
        {"method": method, "opponent": opponents, "training": training},
    )
    config, dataset = open_images(RunConfig.from_tree(tree), images(), None)
    run = prepare(config, dataset, RunFolder(place.new(name)), backbone=None, listener=None)
    batch = images()[: config.training.batch_size].to(place.machine.device)
    views = run.views(batch, generator=generator(0, "views"))
    context = Context(
        position=run.position(),
        indices=torch.arange(len(batch)),
        generator=generator(0, "step"),
        images=batch,
        augment=run.views,
    )
    if place.machine.is_toy:
        run.compiler.backend = "aot_eager"
    run.game.method.train()
    loss = run.game.method.loss(as_views(views), context).loss
    found = torch.autograd.grad(
        loss,
        list(run.game.players["encoder"].parameters()),
        allow_unused=True,
        materialize_grads=True,
    )
    assert not run.compiler.failures, run.compiler.failures
    assert bool(run.compiler.graphs) == (compile_setting == "on"), run.compiler.graphs
    return [loss.detach(), *found]


def compiled_as_eager(place: Place, name: str) -> Outcome:
    """The compiled path's loss and gradients beside the eager path's."""
    eager, compiled = (loss_and_gradients(place, name, value) for value in ("off", "on"))
    scale = max(float(gradient.abs().max()) for gradient in eager[1:])
    loss = difference(compiled[0][None], eager[0][None])
    worst = max(
        float((a - b).abs().max()) / scale for a, b in zip(compiled[1:], eager[1:], strict=True)
    )
    words = f"loss {loss:.1e}, {len(eager) - 1} gradients {worst:.1e} of the largest"
    return loss <= FLOAT32 and worst <= 1e-3, words


def compiled_in_half_precision(place: Place, name: str) -> Outcome:
    """The compiled path's loss in bfloat16 beside the eager path's."""
    eager, compiled = (
        loss_and_gradients(place, name, value, "bfloat16") for value in ("off", "on")
    )
    loss = difference(compiled[0][None], eager[0][None])
    return loss <= BFLOAT16, f"loss {loss:.1e}"


def gradients_of_images(place: Place) -> Outcome:
    """Gradients of images alone through a compiled encoder, in both modes, beside the eager
    ones."""
    tree = merged(
        settings_of("simclr", width=0.0625 if place.machine.is_toy else 0.25),
        {
            "method": "simclr",
            "training": {"device": place.machine.device.type, "precision": "float32"},
        },
    )
    config, _ = open_images(RunConfig.from_tree(tree), images(), None)
    batch = (images()[:16].to(place.machine.device) / 255).requires_grad_()
    compiler = Compiler(backend="aot_eager" if place.machine.is_toy else "inductor")
    found: list[list[Tensor]] = []
    for is_compiled in (False, True):
        encoder = build(config).encoder  # with the same weights and statistics each time
        if is_compiled:
            compiler.compile_network(encoder, name="encoder")
        found.append([])
        for is_training in (True, False):
            encoder.train(is_training)
            with gradients_of_images_only():
                squares = encoder(batch).square().sum()
            found[-1].append(torch.autograd.grad(squares, batch)[0])
    assert not compiler.failures, compiler.failures
    worst = max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(*found, strict=True))
    return worst <= 1e-3 and bool(compiler.graphs), f"{worst:.1e} of the largest"


def graphs_as_eager(place: Place) -> Outcome:
    """Losses of a run with captured graphs beside those of an eager one: two passes, a teacher."""
    eager, captured = (
        losses(train(place, "byol", place.new("byol"), compile=value, precision="float32"))
        for value in ("off", "reduce-overhead")
    )
    worst = difference(captured, eager)
    return worst <= BFLOAT16, f"losses of {STEPS} steps differ by {worst:.1e}"


def views_as_by_tensors(place: Place, preset: str, *, is_compiled: bool = False) -> Outcome:
    """Views as an accelerator makes them beside the slow twin on the CPU, with equal draws."""
    batch, device = images(), place.machine.device
    compiler = Compiler(backend="aot_eager" if place.machine.is_toy else "inductor")
    static_views.is_chosen, chosen = lambda device: True, static_views.is_chosen
    try:
        found = _views_as_by_tensors(batch, device, preset, compiler if is_compiled else None)
    finally:
        static_views.is_chosen = chosen
    assert not compiler.failures, compiler.failures
    assert bool(compiler.graphs) == is_compiled, compiler.graphs
    return found


def _views_as_by_tensors(
    batch: Tensor, device: torch.device, preset: str, compiler: Compiler | None
) -> Outcome:
    recipes = Views(ViewsSettings.build({"preset": preset}).resolve(SIZE), image_size=SIZE).recipes
    worst = 0.0
    for number, recipe in enumerate(recipes):
        views = Views([recipe], image_size=SIZE)
        if compiler is not None:
            views.compile(compiler.compiled, batch_size=len(batch))
        made = views(batch.to(device), generator=generator(0, "views", number))[0]
        sides = torch.full((len(batch),), SIZE)
        draws = draw_parameters(recipe, sides, sides, generator=generator(0, "views", number))
        expected = view_by_tensors(batch, draws, recipe, size=recipe.size or SIZE)
        worst = max(worst, float((made.cpu() - expected).abs().max()))
    return worst <= PIXELS, f"largest difference {worst:.1e}"


def stops_at_nan(place: Place, name: str, **training: Any) -> Outcome:
    """A run whose rate is far too large: one clear line, and finite checkpoints only."""
    out = place.new("nan")
    change = {"players": {"encoder": {"learning_rate": 1e30, "clip_norm": None}}}
    try:
        train(place, name, out, change, checkpoint_minutes=0.0, max_steps=None, **training)
    except TrainingError as error:
        line = str(error)
    else:
        return False, "the run went on"
    kept = out / "checkpoint" / "last.pt"
    tensors = _tensors(torch.load(kept, weights_only=False)) if kept.exists() else []
    is_finite = all(bool(tensor.isfinite().all()) for tensor in tensors)
    holds = "\n" not in line and "stopped at step" in line and is_finite
    return holds, f"{line[:60]}...; {len(tensors)} tensors kept, finite: {is_finite}"


def _tensors(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree] if tree.is_floating_point() else []
    values = tree.values() if isinstance(tree, dict) else tree
    is_tree = isinstance(tree, dict | list | tuple)
    return [tensor for value in values for tensor in _tensors(value)] if is_tree else []


def photos(place: Place) -> str:
    """The images as files in class folders, written once."""
    from tiny import write_photos

    folder = place.folder / "photos"
    return str(folder if folder.exists() else write_photos(folder))


def store_as_disk(place: Place, store: str) -> Outcome:
    """Losses of a run whose images are kept elsewhere, beside those of one from the disk."""
    cache, found = str(place.folder / "cache"), []
    for value in ("disk", store):
        change: Tree = {"data": {"store": value, "cache": cache}}
        run = train(place, "simclr", place.new("store"), REPEATABLE, change, data=photos(place))
        found.append(losses(run))
    worst = difference(found[1], found[0])
    return worst == 0, f"losses of {STEPS} steps differ by {worst:.1e}"


DETECTOR: Tree = {
    "steps": 2,
    "batch_size": 2,
    "precise_steps": 1,
    "warmup_steps": 1,
    "min_size": [96],
    "max_size": 112,
    "test_size": 96,
    "regions": 16,
    "proposals": 16,
}
QUICK: dict[str, Tree] = {
    "semi-supervised": {"draws": 1, "tuning": {"steps": 3}, "scratch": {"steps": 3}},
    "finetune": {"tuning": {"steps": 3}, "scratch": {"steps": 3}},
    "verdict": {"draws": 1, "tuning": {"steps": 3}, "scratch": {"steps": 3}},
    "transfer": {"candidates": 3},
    "robustness": {
        "images": 8,
        "steps": 2,
        "grey_levels": [2.0],
        "severities": [3],
        "corruptions": ["gaussian-noise", "jpeg"],
    },
    "domains": {"draws": 1, "fractions": [0.5], "fine_tune_from": 0.9, "epochs": 1},
    "data-efficiency": {"shares": [0.5, 1.0], "seeds": [0], "epochs": 1},
    "detection": DETECTOR,
    "instance-segmentation": DETECTOR,
    "segmentation": {"steps": 2},
    "pixel-probe": {"pixels": 200},
}
"""Settings with which a protocol takes moments."""


class Scored:
    """A run of a few steps on class folders, and the images of every protocol."""

    def __init__(self, place: Place) -> None:
        self.place, self._run = place, None

    def run(self) -> api.Run:
        """The run, made once."""
        if self._run is None:
            width = 0.0625 if self.place.machine.is_toy else 0.25
            self._run = api.train(
                photos(self.place),
                out=self.place.new("scored"),
                method="simclr",
                settings=merged(
                    settings_of("simclr", width=width),
                    {
                        "training": {"device": self.place.machine.device.type},
                        "data": {"cache": str(self.place.folder / "cache")},
                    },
                ),
                progress=False,
            )
        return self._run

    def images_of(self, labels: str) -> dict[str, Any]:
        """What a protocol with such labels learns from and is scored on."""
        folder = self.place.folder
        if labels == "domains":
            from domain_images import write_folders

            where = folder / "domains"
            return {"train_data": str(where if where.exists() else write_folders(where))}
        if labels in ("boxes", "outlines"):
            from rectangles import scenes, write_coco

            parts = [write_coco(folder / f"boxes-{seed}", scenes(4, seed=seed)) for seed in (0, 1)]
            return {"train_data": str(parts[0]), "data": str(parts[1])}
        if labels == "masks":
            from masked_images import masked_images

            return {"train_data": masked_images(8), "data": masked_images(4, seed=1)}
        return {}

    def score(self, protocol: str) -> Outcome:
        """The protocol on the device."""
        start = time.monotonic()
        found = api.evaluate(
            self.run(),
            protocols=[protocol],
            settings={protocol: QUICK[protocol]} if protocol in QUICK else None,
            device=self.place.machine.device.type,
            progress=False,
            **self.images_of(PROTOCOLS[protocol].labels),
        )
        return bool(found), f"{time.monotonic() - start:.1f} s"

    def export(self, form: str) -> Outcome:
        """Weights in another library's form, and whether they are finite."""
        out = self.place.folder / f"weights.{form}"
        is_whole = form == "torchvision"  # which has no narrow networks
        change = {"encoder": {"width": 1.0}}
        run = (
            train(self.place, "simclr", self.place.new("wide"), change, max_steps=1)
            if is_whole
            else self.run()
        )
        api.export(run, out=out, form=form)
        return out.stat().st_size > 1000, f"{out.stat().st_size:,} bytes"

    def embed(self) -> Outcome:
        """Features on the device beside the CPU's."""
        found = [
            torch.from_numpy(
                api.embed(
                    self.run(), images().numpy().transpose(0, 2, 3, 1), device=device
                ).features
            )
            for device in (self.place.machine.device.type, "cpu")
        ]
        worst = float((found[0] - found[1]).abs().max() / found[1].abs().max())
        return worst <= BFLOAT16, f"largest difference {worst:.1e} of the largest value"


def checks(place: Place) -> Iterator[tuple[str, Callable[[], Outcome]]]:
    """What is to hold, the most important first."""
    games = list(FEW) if place.machine.is_toy else names()
    for name in games:
        yield f"first losses, {name}", partial(as_on_the_cpu, place, name)
    for name in games:
        yield f"repeats to the bit, {name}", partial(repeats, place, name)
    yield "killed and resumed", partial(killed, place)
    yield "stops where a loss is not finite", partial(stops_at_nan, place, "simclr")
    for preset in PRESETS:
        yield f"views as by tensors, {preset}", partial(views_as_by_tensors, place, preset)
    for name in COMPILED[:1] if place.machine.is_toy else COMPILED:
        yield f"compiled as eager, {name}", partial(compiled_as_eager, place, name)
    yield (
        "compiled views as by tensors",
        partial(views_as_by_tensors, place, "mocov2", is_compiled=True),
    )
    yield "gradients of images, compiled", partial(gradients_of_images, place)
    yield "compiled in bfloat16", partial(compiled_in_half_precision, place, "simclr")
    if not place.machine.is_toy:  # these would wait for Inductor's code for a CPU
        yield "stops there too if compiled", partial(stops_at_nan, place, "mocov2", compile="on")
        yield "captured graphs as eager", partial(graphs_as_eager, place)
    for store in ("memory", "device"):
        yield f"images from {store} as from disk", partial(store_as_disk, place, store)
    scored = Scored(place)
    yield "embed", scored.embed
    for form in ("timm", "torchvision", "safetensors"):
        yield f"export {form}", partial(scored.export, form)
    for protocol in PROTOCOLS:
        yield f"protocol {protocol}", partial(scored.score, protocol)


def outcome(what: str, check: Callable[[], Outcome]) -> Row:
    """Line of a check; a failure is one."""
    try:
        holds, measured = check()
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        return Row(what, "no", f"{type(error).__name__}: {lines[0][:150]}")
    return Row(what, "yes" if holds else "no", measured)


def main() -> None:
    """Check, print and write."""
    parser = arguments(__doc__)
    parser.add_argument("--only", default="", metavar="WORD", help="checks with this in their name")
    parser.add_argument("--minutes", type=float, default=3.0, help="after which no check begins")
    parser.add_argument("--train-until-killed", type=Path, help="of the process that is killed")
    options = parser.parse_args()
    # cuBLAS reads it once, and the first checks use cuBLAS before a deterministic run does.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    machine, start = machine_of(options), time.monotonic()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        place = Place(machine, Path(folder))
        if options.train_until_killed is not None:
            train_until_killed(place, options.train_until_killed)
            return
        print(f"{'what':44} {'holds':10} measured ({machine.facts()['device']})", flush=True)
        for what, check in checks(place):
            if options.only not in what:
                continue
            is_late = time.monotonic() - start > 60 * options.minutes
            rows.append(Row(what, "not run", "no time") if is_late else outcome(what, check))
            print(f"{what:44} {rows[-1].holds:10} {rows[-1].measured}", flush=True)
    seconds = time.monotonic() - start
    failed = [row for row in rows if row.holds in ("no", "not run")]
    print(f"{len(rows) - len(failed)} of {len(rows)} hold, {seconds:.0f} s")
    write(options.out, machine, [asdict(row) for row in rows], seconds=seconds)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
