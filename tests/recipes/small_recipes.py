"""Values of the recipes for small images: tuned or chosen by this project, some taken over."""

from pins import OURS, Pins

ON_SIMCLR = ("simclr-small", "clae-small", "hardgen-small")
"""SimCLR, alone and with an opponent in image space."""
PLAIN = ("plain-small", "uel-small")
SGD = (*ON_SIMCLR, "mocov2-small", "adco-small", "caco-small")
ADAMW = ("byol-small", "simsiam-small", "mocov3-small", "acssl-small")
SMALL = (*SGD, *ADAMW, *PLAIN, "hcl-small", "dcl-small", "vicreg-small")

SMALL_PINS = [
    Pins(
        SMALL,
        OURS + ", all small recipes",
        {
            "encoder.backbone": "resnet18",
            "encoder.width": 0.25,
            "encoder.small_images": True,
            "projector.dim": 128,
            "views.preset": "mocov2-small",
            "players.encoder.schedule": "cosine",
            "players.encoder.momentum": 0.9,
            "training.epochs": 15,
            "training.batch_size": 128,
        },
    ),
    Pins(
        SGD,
        OURS + ", SGD beside AdamW in runs of 5 epochs",
        {
            "projector.kind": "simclr",
            "players.encoder.optimizer": "sgd",
            "players.encoder.learning_rate": 0.06,
            "players.encoder.weight_decay": 5e-4,
        },
    ),
    Pins(
        ADAMW,
        OURS + ", AdamW beside SGD in runs of 5 epochs",
        {
            "players.encoder.optimizer": "adamw",
            "players.encoder.learning_rate": 0.002,
            "players.encoder.weight_decay": 0.01,
        },
    ),
    Pins(
        PLAIN,
        "Ho & Vasconcelos 2020 (CLAE, arXiv:2010.12050), released code 6986061, Plain/main.py and "
        "UEL/main.py: temperature 0.1, one linear layer, SGD 0.9 at 0.03, decay 5e-4",
        {
            "temperature": 0.1,
            "projector.kind": "linear",
            "players.encoder.optimizer": "sgd",
            "players.encoder.learning_rate": 0.03,
            "players.encoder.weight_decay": 5e-4,
        },
    ),
    Pins(PLAIN[:1], "the base's name in CLAE's released code", {"method": "plain"}),
    Pins(PLAIN[1:], "Ye et al. 2019 (UEL, arXiv:1904.03436)", {"method": "uel"}),
    Pins(
        ON_SIMCLR,
        OURS + "/temperature-of-simclr.md: 0.1 above 0.2 on two seeds",
        {"method": "simclr", "temperature": 0.1},
    ),
    Pins(
        ("clae-small",),
        "Ho & Vasconcelos 2020 (CLAE, arXiv:2010.12050), released code 6986061, SimCLR/run_*.sh: "
        "epsilon 0.03 of images normalised by 0.5, alpha 1",
        {
            "opponent": ["perturbation"],
            "perturbation.epsilon": 0.03 * 0.5,
            "perturbation.alpha": 1.0,
        },
    ),
    Pins(
        ("hardgen-small",),
        OURS + ", size, rates and moves of the generators; after Wu et al. 2022 "
        "(arXiv:2202.06464), a reconstruction, not verified",
        {
            "opponent": ["generator-pair"],
            "generator_pair.generator_every": 2,
            "generator_pair.hardness_temperature": 0.1,
            "generator_pair.norms": "split",
            "generator_pair.colour": "full",
            "generator_pair.generator.width": 16,
            "generator_pair.pretraining.steps": 4000,
            "generator_pair.pretraining.batch_size": 32,
            "generator_pair.pretraining.discriminator_steps": 1,
            "generator_pair.pretraining.ema": 0.999,
            "generator_pair.pretraining.players.generator.learning_rate": 5e-4,
            "generator_pair.pretraining.players.discriminator.learning_rate": 5e-4,
        },
    ),
    Pins(
        ("hardgen-small",),
        "AdaInf (2024), README of the released code: real images ten times as often",
        {"generator_pair.weight": 0.1},
    ),
    Pins(
        ("adco-small", "caco-small"),
        OURS + ", equal to the queue of mocov2-small",
        {"bank.size": 512, "bank.key_views": "one"},
    ),
    Pins(
        ("caco-small",),
        OURS + ", scale and norms of mocov2-small",
        {"reduction": "mean", "temperature": 0.2, "key_norm.shuffled": True},
    ),
    Pins(
        ("mocov2-small",),
        OURS + ", mocov2-small; its queue is the banks' of the games",
        {
            "method": "mocov2",
            "temperature": 0.2,
            "teacher_momentum": 0.98,
            "symmetric": True,
            "in_batch": True,
            "queue.size": 512,
            "queue.key_views": "one",
        },
    ),
    Pins(
        ("adco-small",),
        OURS + "/strength-of-adco.md and demo-settings.md: the best of the strengths that play",
        {"strength": 0.1},
    ),
    Pins(
        ("adco-small",),
        OURS + ", adco-small; the bank's rate is 0.0023 * size * temperature as released (AdCo: 3 "
        "/ (65536 * 0.02)), its momentum and decay are AdCo's",
        {
            "method": "adco",
            "temperature": 0.2,
            "teacher_momentum": 0.98,
            "form": "symmetric",
            "in_batch": True,
            "queue_epochs": 5.0,
            "bank.temperature": 0.04,
            "players.bank.optimizer": "sgd",
            "players.bank.learning_rate": 0.047,
            "players.bank.schedule": "constant",
            "players.bank.momentum": 0.9,
            "players.bank.weight_decay": 1e-4,
        },
    ),
    Pins(
        ("caco-small",),
        OURS + ", caco-small; the bank's momentum and missing decay are CaCo's",
        {
            "method": "caco",
            "teacher_momentum": 0.98,
            "teacher_schedule": "constant",
            "scale_bank_rate": True,
            "queue_epochs": 7.5,
            "bank.temperature": 0.04,
            "players.bank.optimizer": "sgd",
            "players.bank.learning_rate": 0.375,
            "players.bank.schedule": "constant",
            "players.bank.momentum": 0.9,
            "players.bank.weight_decay": 0.0,
        },
    ),
    Pins(
        ("byol-small",),
        OURS + ", byol-small; the teacher's schedule is BYOL's",
        {
            "method": "byol",
            "teacher_momentum": 0.95,
            "teacher_schedule": "cosine",
            "projector.kind": "mocov3",
            "predictor.kind": "normed",
            "predictor.hidden": 512,
        },
    ),
    Pins(
        ("simsiam-small",),
        "Chen & He 2020 (SimSiam, arXiv:2011.10566), sections 3 and 4.6 and appendix D: a "
        "predictor of a quarter of dim whose rate stays, two layers in the projector on CIFAR (not "
        "verified); the rest " + OURS,
        {
            "method": "simsiam",
            "projector.kind": "mocov3",
            "predictor.kind": "normed",
            "predictor.hidden": 128 // 4,
            "players.encoder.steady": ["predictor"],
        },
    ),
    Pins(
        ("mocov3-small",),
        OURS + ", mocov3-small; the shape of the heads and the teacher's schedule are MoCo v3's",
        {
            "method": "mocov3",
            "temperature": 0.2,
            "teacher_momentum": 0.9,
            "teacher_schedule": "cosine",
            "projector.kind": "mocov3",
            "predictor.kind": "normed-unbiased",
            "predictor.hidden": 512,
        },
    ),
    Pins(
        ("acssl-small",),
        OURS + ", acssl-small; gamma and ranks of Wang et al. 2021 (truncated triplet, "
        "arXiv:2104.08760; a reconstruction, not verified)",
        {
            "method": "acssl",
            "form": "linear",
            "teacher_momentum": 0.95,
            "teacher_schedule": "cosine",
            "triplet.gamma": 2.0,
            "mining.pool": "batch",
            "mining.count": 9,
            "mining.skip": 1,
            "projector.kind": "simclr",
            "projector.hidden": 1024,
            "predictor.kind": "normed",
            "predictor.hidden": 1024,
        },
    ),
    Pins(
        ("mocov3-vit-small-images",),
        OURS + "/vit-small-images.md; the shape of the heads and the teacher's schedule are those "
        "of MoCo v3's transformers",
        {
            "method": "mocov3",
            "temperature": 0.2,
            "teacher_momentum": 0.95,
            "teacher_schedule": "cosine",
            "encoder.backbone": "vit_tiny_patch16_224",
            "projector.kind": "simsiam",
            "projector.dim": 128,
            "predictor.kind": "normed-output",
            "predictor.hidden": 512,
            "views.preset": "mocov2-small",
            "players.encoder.optimizer": "adamw",
            "players.encoder.learning_rate": 0.001,
            "players.encoder.schedule": "cosine",
            "players.encoder.warmup_epochs": 0.5,
            "players.encoder.momentum": 0.9,
            "players.encoder.weight_decay": 0.01,
            "players.encoder.decay_vectors": False,
            "training.epochs": 15,
            "training.batch_size": 64,
        },
    ),
]
