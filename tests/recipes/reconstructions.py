"""Values of ACSSL on ImageNet, and of CLAE as released.

Of ACSSL only the abstract was available; its recipes are BYOL's training with the loss and the
ranks of the truncated triplet, a reconstruction.
"""

from pins import Pins

ACSSL_PINS = [
    Pins(
        ("acssl-imagenet-100", "acssl-imagenet-300"),
        "Zhu et al. 2022 (ACSSL, arXiv:2202.13072), abstract: triplet-like loss on mined negatives "
        "of a student and a teacher; its constants are those of Wang et al. 2021 (truncated "
        "triplet, arXiv:2104.08760), released code: gamma 2, ranks 2 to 10 (a reconstruction, not "
        "verified)",
        {
            "method": "acssl",
            "form": "linear",
            "triplet.gamma": 2.0,
            "mining.pool": "batch",
            "mining.count": 9,
            "mining.skip": 1,
        },
    )
]

CLAE_CODE = "Ho & Vasconcelos 2020 (CLAE, arXiv:2010.12050), released code 6986061, "
CLAE_PINS = [
    Pins(
        ("clae-cifar-100",),
        CLAE_CODE + "SimCLR/main.py and model.py: ResNet-18 with a CIFAR stem, temperature 0.5, "
        "head of two layers to 64 without batch norm, Adam 3e-4 without decay or schedule, batch "
        "256, 100 epochs",
        {
            "method": "simclr",
            "opponent": ["perturbation"],
            "temperature": 0.5,
            "encoder.backbone": "resnet18",
            "encoder.width": 1.0,
            "encoder.small_images": True,
            "projector.kind": "mocov2",
            "projector.dim": 64,
            "players.encoder.optimizer": "adamw",
            "players.encoder.learning_rate": 3e-4,
            "players.encoder.schedule": "constant",
            "players.encoder.momentum": 0.9,
            "players.encoder.weight_decay": 0.0,
            "training.epochs": 100,
            "training.batch_size": 256,
            "training.image_size": 32,
        },
    ),
    Pins(
        ("clae-cifar-100",),
        CLAE_CODE + "SimCLR/modules/transformations/simclr.py: torchvision's crop, "
        "ColorJitter(0.8, 0.8, 0.8, 0.2), no blur, images normalised by 0.5",
        {
            "encoder.mean": [0.5, 0.5, 0.5],
            "encoder.std": [0.5, 0.5, 0.5],
            "views.preset": "simclr-cifar",
            "views.brightness": 0.8,
            "views.contrast": 0.8,
            "views.saturation": 0.8,
            "views.hue": 0.2,
        },
    ),
    Pins(
        ("clae-cifar-100",),
        CLAE_CODE + "SimCLR/run_*.sh: epsilon 0.03 of images normalised by 0.5, alpha 1; "
        "SimCLR/modules/resnet_BN.py: adversarial batch norms with momentum 0.01",
        {
            "perturbation.epsilon": 0.03 * 0.5,
            "perturbation.alpha": 1.0,
            "perturbation.norm_momentum": 0.01,
        },
    ),
]
