"""What an opponent costs: AdCo's step against MoCo v2's, and a perturbed step against its base.

    python benchmarks/opponent_steps.py [--json opponent_steps.json] [--rounds 7] [--width 0.25]

Training steps on ready views of noise, batch 256, 32 pixels, ResNet-18 with the small stem; one
thread, CPU time, in the middle of a run, the sides taking turns. Bank and queue hold 4,096 vectors
and are full. Every method has its defaults beside.
"""

from collections.abc import Callable

import torch

from side_by_side import alternate, arguments, compared, in_words, write_json
from sparring.data.views.views import Views
from sparring.methods.method import Context
from sparring.models.view import as_views
from sparring.optim.schedule import Position
from sparring.seeding import generator
from sparring.training.build import Game, build
from sparring.training.settings import RunConfig

BATCH, SIZE, VECTORS = 256, 32, 4096
PAIRS = (("adco", "mocov2"), ("simclr+perturbation", "simclr"), ("mocov2+perturbation", "mocov2"))
OWN = {
    "adco": {"bank": {"size": VECTORS}, "queue_epochs": 0.0},
    "mocov2": {"queue": {"size": VECTORS}},
}


def game_of(name: str, width: float) -> tuple[Game, Views]:
    """A method with its bank or queue full, and its views."""
    method, _, opponent = name.partition("+")
    tree = {
        "method": method,
        "opponent": [opponent] if opponent else [],
        "encoder": {"width": width, "small_images": True},
        "training": {"image_size": SIZE, "batch_size": BATCH, "device": "cpu"},
        **OWN.get(method, {}),
    }
    config = RunConfig.from_tree(tree)
    game = build(config)
    if method == "adco":
        game.method.get_submodule("bank").fill(
            torch.randn(VECTORS, 128, generator=generator(0, "keys"))
        )
    return game, Views(config.method_settings.views.resolve(SIZE), image_size=SIZE)


def steps(game: Game, augment: Views) -> Callable[[], object]:
    """One step per call, always on the same views."""
    images = torch.randint(
        0, 256, (BATCH, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator(0, "images")
    )
    views = as_views(augment(images, generator=generator(0, "views")))
    now = Position(step=500, num_steps=1000, steps_per_epoch=39)

    def step() -> object:
        """The round."""
        for player in game.players.values():
            player.prepare(now)
        draws = generator(0, "step")
        context = Context(
            position=now,
            indices=torch.arange(BATCH),
            generator=draws,
            images=images,
            augment=augment,
        )
        return game.method.step(views, game.players, context)

    return step


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, rounds=7)
    parser.add_argument("--width", type=float, default=0.25)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for opponent, base in PAIRS:
        turns = alternate(
            {name: steps(*game_of(name, options.width)) for name in (opponent, base)},
            rounds=options.rounds,
            warmup=2,
        )
        found[f"{opponent} / {base}"] = rows = compared(turns, base)
        print(
            f"{opponent:22} {in_words(rows[opponent])} s, {base:8} {in_words(rows[base])} s: "
            f"{in_words(rows[opponent]['ratio'])} times"
        )
    write_json(options.json, {"width": options.width, "found": found})


if __name__ == "__main__":
    main()
