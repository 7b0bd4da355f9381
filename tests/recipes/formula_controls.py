"""Values of the controls whose negatives are weighted by a formula, and of VICReg."""

from pins import OURS, Pins

ROBINSON = (
    "Robinson et al. 2021 (HCL, arXiv:2010.04592), released code main.py: beta 1.0, tau_plus 0.1"
)
CHUANG = "Chuang et al. 2020 (DCL, arXiv:2007.00224), released code main.py: tau_plus 0.1"
BARDES = "Bardes et al. 2022 (VICReg, arXiv:2105.04906), section 4.2 and released main_vicreg.py"
FORMULA = ("hcl-small", "dcl-small")

FORMULA_PINS = [
    Pins(("hcl-small",), ROBINSON, {"method": "hcl", "beta": 1.0, "tau_plus": 0.1}),
    Pins(("dcl-small",), CHUANG, {"method": "dcl", "tau_plus": 0.1}),
    Pins(
        FORMULA, OURS + ", SimCLR's small recipe", {"temperature": 0.2, "projector.kind": "simclr"}
    ),
    Pins(
        FORMULA,
        OURS + ", SGD of SimCLR's small recipe",
        {
            "players.encoder.optimizer": "sgd",
            "players.encoder.learning_rate": 0.06,
            "players.encoder.weight_decay": 5e-4,
        },
    ),
    Pins(
        ("vicreg-small",),
        OURS + ", docs/methods/vicreg.md: invariance 10 beside 25 in runs of 5 epochs",
        {
            "method": "vicreg",
            "invariance_weight": 10.0,
            "projector.hidden": 512,
            "players.encoder.optimizer": "adamw",
            "players.encoder.learning_rate": 0.002,
            "players.encoder.weight_decay": 0.01,
        },
    ),
    Pins(
        ("vicreg-small", "vicreg-imagenet-1000"),
        BARDES,
        {"variance_weight": 25.0, "covariance_weight": 1.0, "projector.kind": "three-layer"},
    ),
    Pins(
        ("vicreg-imagenet-1000",),
        BARDES + " and README: LARS, 0.2 * 2048 / 256, 10 epochs of warm-up, decay 1e-6",
        {
            "method": "vicreg",
            "invariance_weight": 25.0,
            "projector.hidden": 8192,
            "projector.dim": 8192,
            "encoder.backbone": "resnet50",
            "encoder.small_images": False,
            "players.encoder.optimizer": "lars",
            "players.encoder.learning_rate": 1.6,
            "players.encoder.learning_rate_final": 0.0016,
            "players.encoder.schedule": "cosine",
            "players.encoder.warmup_epochs": 10,
            "players.encoder.momentum": 0.9,
            "players.encoder.weight_decay": 1e-6,
            "players.encoder.decay_vectors": False,
            "training.epochs": 1000,
            "training.batch_size": 2048,
            "training.image_size": 224,
            "training.sync_batch_norm": True,
        },
    ),
    Pins(
        ("vicreg-imagenet-1000",),
        "Bardes et al. 2022, appendix: BYOL's views (not verified)",
        {"views.preset": "byol"},
    ),
]

FORMULA_DEFAULTS = [
    Pins(
        ("hcl",),
        ROBINSON,
        {"beta": 1.0, "tau_plus": 0.1},
    ),
    Pins(
        ("hcl",),
        OURS + ", SimCLR's defaults",
        {"temperature": 0.2, "projector.kind": "simclr", "views.preset": "simclr-cifar"},
    ),
    Pins(
        ("vicreg",),
        BARDES,
        {
            "invariance_weight": 25.0,
            "variance_weight": 25.0,
            "covariance_weight": 1.0,
            "projector.kind": "three-layer",
        },
    ),
    Pins(("vicreg",), OURS + ", expander of small images", {"projector.hidden": 512}),
]
