"""Defaults of the opponents in image space, by their names on the command line; the keys stand
below the opponent's own section."""

from pins import OURS, Pins

CLAE_CODE = "Ho & Vasconcelos 2020 (CLAE, arXiv:2010.12050), released code 6986061, "
WU = "after Wu et al. 2022 (arXiv:2202.06464), a reconstruction, not verified: "
BIGGAN = "Zhao et al. 2020 (DiffAugment), released DiffAugment-biggan-cifar10: "
ADAM = {
    "optimizer": "adamw",
    "schedule": "constant",
    "warmup_epochs": 0.0,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "clip_norm": None,
}


def of_both(section: str, learning_rate: float) -> dict[str, object]:
    """Settings of the players `generator` and `discriminator` of a section."""
    return {
        f"{section}.{player}.{key}": value
        for player in ("generator", "discriminator")
        for key, value in {**ADAM, "learning_rate": learning_rate}.items()
    }


OPPONENT_PINS = [
    Pins(
        ("perturbation",),
        CLAE_CODE + "SimCLR/run_*.sh: epsilon 0.03 of images normalised by 0.5, alpha 1",
        {"epsilon": 0.03 * 0.5, "alpha": 1.0},
    ),
    Pins(
        ("perturbation",),
        CLAE_CODE + "SimCLR/main.py: one step of the size of epsilon from the image itself, its "
        "own view the anchor, nothing clipped, statistics of the attack's passes kept",
        {
            "steps": 1,
            "step_size": None,
            "random_start": False,
            "anchor": "self",
            "clip": None,
            "attack_updates_statistics": True,
        },
    ),
    Pins(
        ("perturbation",),
        CLAE_CODE + "SimCLR/modules/resnet_BN.py: batch norms of its own, momentum 0.01",
        {"norms": "split", "norm_momentum": 0.01},
    ),
    Pins(
        ("generator-pair",),
        WU + "weights and limits of the generators' objective",
        {
            "hardness": 1.0,
            "hardness_rise": 0.1,
            "adaptive": True,
            "similarity": 0.7,
            "fence": 10.0,
            "diversity": 10.0,
            "real_only": 0.1,
            "made_share": 0.5,
            "weight": 1.0,
            "generator_every": 1,
            "init_noise": 0.01,
            "moves": "both",
            "norms": "shared",
            "colour": "partial",
            "loss": "multi-positive",
        },
    ),
    Pins(
        ("generator-pair",),
        BIGGAN + "latents of 128; translation by an eighth, cutout of a half, colour for few "
        "images; four moves of the judge for one of the generator, average 0.9999; batch 64 for 50",
        {
            "generator.latent": 128,
            "judge.translation": 1 / 8,
            "judge.cutout": 1 / 2,
            "judge.colour": True,
            "pretraining.batch_size": 64,
            "pretraining.discriminator_steps": 4,
            "pretraining.ema": 0.9999,
        },
    ),
    Pins(
        ("generator-pair",),
        BIGGAN + "Adam 2e-4 with betas (0, 0.999) for both",
        of_both("pretraining.players", 2e-4),
    ),
    Pins(
        ("generator-pair",),
        WU + "a tenth of the pretraining's rate while the encoder learns",
        of_both("players", 0.1 * 2e-4),
    ),
    Pins(
        ("generator-pair",),
        OURS + ", size and length of the pretraining, hardness's temperature, a control's noise",
        {
            "generator.width": 32,
            "pretraining.steps": 50_000,
            "hardness_temperature": 0.2,
            "latent_noise": 0.3,
        },
    ),
]
