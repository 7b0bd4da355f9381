"""Defaults of the methods, by their names on the command line."""

from pins import OURS, Pins

LEARNED = ("adco", "caco")
TAUGHT = ("mocov2", "byol", "mocov3", "adco", "caco", "acssl")
PREDICTING = ("byol", "simsiam", "mocov3", "acssl")
BASES = ("plain", "uel")
METHODS = ("simclr", *TAUGHT, "simsiam", *BASES)
SMALL_VIEWS = tuple(name for name in METHODS if name not in ("simclr", *BASES))
NORMED_HEAD = ("simclr", "mocov2", "byol", "adco", "caco", "acssl")
WARM = ("simclr", "mocov2", "mocov3", "adco", "caco")

METHOD_PINS = [
    Pins(
        METHODS,
        OURS + ", SGD of all small recipes",
        {
            "projector.dim": 128,
            "players.encoder.optimizer": "sgd",
            "players.encoder.learning_rate": 0.06,
            "players.encoder.learning_rate_final": 0.0,
            "players.encoder.schedule": "cosine",
            "players.encoder.schedule_per_epoch": False,
            "players.encoder.warmup_epochs": 0.0,
            "players.encoder.momentum": 0.9,
            "players.encoder.weight_decay": 5e-4,
            "players.encoder.decay_vectors": True,
            "players.encoder.clip_norm": None,
            "training.epochs": 100,
            "training.batch_size": 256,
        },
    ),
    Pins(
        METHODS,
        "normalisation of ImageNet in the released code of AdCo, CaCo, MoCo and BYOL (AdCo: "
        "training/main_worker.py)",
        {
            "encoder.mean": [0.485, 0.456, 0.406],
            "encoder.std": [0.229, 0.224, 0.225],
        },
    ),
    Pins(SMALL_VIEWS, OURS + ", pilot on CIFAR-10", {"views.preset": "mocov2-small"}),
    Pins(
        ("simclr",),
        "Chen et al. 2020 (SimCLR, arXiv:2002.05709), appendix B.9 (not verified)",
        {"views.preset": "simclr-cifar"},
    ),
    Pins(
        NORMED_HEAD,
        "SimCLR's released head; without batch norm short runs stay in a narrow cone, " + OURS,
        {"projector.kind": "simclr"},
    ),
    Pins(WARM, "Chen et al. 2020 (MoCo v2, arXiv:2003.04297), --moco-t 0.2", {"temperature": 0.2}),
    Pins(
        TAUGHT,
        "BYOL and MoCo v3, released presets of 100 to 300 epochs; for queues and banks " + OURS,
        {"teacher_momentum": 0.99},
    ),
    Pins(
        ("byol", "mocov3", "acssl"),
        "BYOL, released code, utils/schedules.py; MoCo v3, --moco-m-cos",
        {"teacher_schedule": "cosine"},
    ),
    Pins(
        ("mocov2",),
        OURS + ", the control of adco-small",
        {"symmetric": True, "in_batch": True, "queue.size": 4096},
    ),
    Pins(
        ("mocov2",),
        "released notebook of MoCo's authors: a symmetric loss stores the keys of both views",
        {"queue.key_views": "all"},
    ),
    Pins(
        ("mocov2", "adco"),
        "MoCo and AdCo, released code: keys are shuffled among GPUs, one part on each",
        {"key_norm.parts": 1, "key_norm.shuffled": True},
    ),
    Pins(
        ("mocov3", "caco", "acssl"),
        "MoCo v3 and CaCo, released code: batch norm over all GPUs, no shuffling; ACSSL alike",
        {"key_norm.parts": 1, "key_norm.shuffled": False},
    ),
    Pins(
        LEARNED,
        "AdCo and CaCo, released code: the pass that fills the bank encodes one view's keys",
        {"bank.key_views": "one"},
    ),
    Pins(
        ("caco",),
        "Wang et al. 2022 (CaCo, arXiv:2203.14370), released code: the sum over both views",
        {"reduction": "sum"},
    ),
    Pins(
        ("byol",),
        "Grill et al. 2020 (BYOL, arXiv:2006.07733): shape of the predictor; its width " + OURS,
        {"predictor.kind": "normed", "predictor.hidden": 512},
    ),
    Pins(
        ("simsiam",),
        "Chen & He 2020 (SimSiam, arXiv:2011.10566): predictor of a quarter of dim, whose rate "
        "stays; two layers in the projector on CIFAR (appendix D, not verified)",
        {
            "projector.kind": "mocov3",
            "predictor.kind": "normed",
            "predictor.hidden": 128 // 4,
            "players.encoder.steady": ["predictor"],
        },
    ),
    Pins(
        ("mocov3",),
        "Chen et al. 2021 (MoCo v3, arXiv:2104.02057), released moco/builder.py: heads of a "
        "ResNet; their width " + OURS,
        {
            "projector.kind": "mocov3",
            "predictor.kind": "normed-unbiased",
            "predictor.hidden": 512,
        },
    ),
    Pins(
        BASES,
        "Ho & Vasconcelos 2020 (CLAE, arXiv:2010.12050), released code 6986061, Plain/main.py and "
        "UEL/main.py: temperature 0.1, one linear layer to 128, crops of 20 %, hue 0.4, always",
        {"temperature": 0.1, "projector.kind": "linear", "views.preset": "uel"},
    ),
    Pins(
        ("adco",),
        "Hu et al. 2021 (AdCo, arXiv:2011.08435), released code fd65f12: keys of the batch in both "
        "denominators; the bank's SGD with 0.9, decay 1e-4 and no schedule",
        {
            "in_batch": True,
            "bank.sees_keys": True,
            "players.bank.optimizer": "sgd",
            "players.bank.schedule": "constant",
            "players.bank.momentum": 0.9,
            "players.bank.weight_decay": 1e-4,
        },
    ),
    Pins(
        LEARNED,
        OURS + ", size and temperature of a bank for 10,000 images",
        {"bank.size": 512, "bank.temperature": 0.04},
    ),
    Pins(
        ("adco",),
        OURS + ", adco-small; 0.0023 * size * temperature, as released",
        {"form": "symmetric", "queue_epochs": 5.0, "players.bank.learning_rate": 0.047},
    ),
    Pins(
        ("caco",),
        "Wang et al. 2022 (CaCo, arXiv:2203.14370), released code a72b345: the bank's SGD with 0.9 "
        "and without decay",
        {
            "players.bank.optimizer": "sgd",
            "players.bank.momentum": 0.9,
            "players.bank.weight_decay": 0.0,
        },
    ),
    Pins(
        ("caco",),
        OURS + ", caco-small",
        {
            "teacher_schedule": "constant",
            "scale_bank_rate": True,
            "queue_epochs": 7.5,
            "players.bank.learning_rate": 0.375,
            "players.bank.schedule": "constant",
        },
    ),
    Pins(
        ("acssl",),
        "Wang et al. 2021 (truncated triplet, arXiv:2104.08760), released code: gamma 2, ranks 2 "
        "to 10 of the batch; a reconstruction of ACSSL, not verified",
        {
            "form": "linear",
            "triplet.gamma": 2.0,
            "mining.pool": "batch",
            "mining.count": 9,
            "mining.skip": 1,
            "mining.warmup_epochs": 0.0,
        },
    ),
    Pins(
        ("acssl",),
        "Robinson et al. 2021 (HCL), released code joshr17/HCL: beta 1, tau_plus 0.1",
        {"triplet.beta": 1.0, "triplet.tau_plus": 0.1},
    ),
    Pins(
        ("acssl",),
        OURS + ", heads, weight of byol_plus and size of the queue",
        {
            "projector.hidden": 1024,
            "predictor.kind": "normed",
            "predictor.hidden": 1024,
            "triplet.weight": 0.5,
            "triplet.margin": None,
            "triplet.temperature": None,
            "mining.queue_size": 4096,
        },
    ),
]
