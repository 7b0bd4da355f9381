"""Values of DINO: recipes and defaults."""

from pins import OURS, Pins

PAPER = "Caron et al. 2021 (DINO, arXiv:2104.14294)"
CODE = PAPER + ", released main_dino.py, defaults: "
README = PAPER + ", released README, "
ARGUMENTS = PAPER + ", args.txt of the released ViT-S/16 of 800 epochs (read in copies): "
VIT = ("dino-vit-small-imagenet-100", "dino-vit-small-imagenet-800")
SHORT = ("dino-vit-small-imagenet-100", "dino-imagenet-100")
RESNET = ("dino-imagenet-100",)
IMAGENET = (*VIT, *RESNET)
SMALL = ("dino-small",)

DINO_PINS = [
    Pins((*IMAGENET, *SMALL), PAPER, {"method": "dino"}),
    Pins(
        (*IMAGENET, *SMALL),
        PAPER + ", section 3: student at 0.1, centre 0.9, teacher along half a cosine to 1, "
        "prototypes fixed in the first epoch (appendix, not verified)",
        {
            "temperature": 0.1,
            "teacher_temperature_start": 0.04,
            "centre_momentum": 0.9,
            "teacher_schedule": "cosine",
            "frozen_prototype_epochs": 1.0,
            "players.encoder.schedule": "cosine",
            "players.encoder.momentum": 0.9,
        },
    ),
    Pins(
        IMAGENET,
        CODE + "65,536 prototypes, head of 2048 and 256, teacher 0.996, 10 epochs of warm-up, "
        "neither biases nor norms decay",
        {
            "num_prototypes": 65536,
            "teacher_momentum": 0.996,
            "projector.kind": "dino",
            "projector.hidden": 2048,
            "projector.dim": 256,
            "players.encoder.warmup_epochs": 10,
            "players.encoder.decay_vectors": False,
            "training.image_size": 224,
        },
    ),
    Pins(
        VIT,
        CODE + "AdamW, decay 0.04 to 0.4",
        {
            "encoder.backbone": "vit_small_patch16_224",
            "players.encoder.optimizer": "adamw",
            "players.encoder.weight_decay": 0.04,
            "players.encoder.weight_decay_final": 0.4,
        },
    ),
    Pins(
        SHORT,
        CODE + "teacher at 0.04, gradients clipped at 3.0, last rate 1e-6; README: 8 GPUs of 64 "
        "images, 100 epochs",
        {
            "teacher_temperature": 0.04,
            "teacher_temperature_epochs": 0.0,
            "players.encoder.learning_rate_final": 1e-6,
            "players.encoder.clip_norm": 3.0,
            "training.epochs": 100,
            "training.batch_size": 512,
        },
    ),
    Pins(
        VIT[:1],
        README + "vanilla run; rate 0.0005 * 512 / 256",
        {"views.preset": "multi-crop-dino", "players.encoder.learning_rate": 0.001},
    ),
    Pins(
        VIT[1:],
        ARGUMENTS + "teacher 0.04 to 0.07 in 30 epochs, 16 GPUs of 64 images, no clipping, last "
        "rate 1e-5, ten small crops",
        {
            "teacher_temperature": 0.07,
            "teacher_temperature_epochs": 30.0,
            "views.preset": "multi-crop-dino-800",
            "players.encoder.learning_rate": 0.002,
            "players.encoder.learning_rate_final": 1e-5,
            "training.epochs": 800,
            "training.batch_size": 1024,
        },
    ),
    Pins(
        RESNET,
        README + "command for ResNet-50: SGD, decay 1e-4, crops of 14 to 100 % and of 5 to 14 %; "
        "rate 0.03 * 512 / 256",
        {
            "encoder.backbone": "resnet50",
            "encoder.small_images": False,
            "views.preset": "multi-crop-dino-resnet",
            "players.encoder.optimizer": "sgd",
            "players.encoder.learning_rate": 0.06,
            "players.encoder.weight_decay": 1e-4,
            "training.sync_batch_norm": True,
        },
    ),
    Pins(
        SMALL,
        OURS + "/dino-short-runs.md",
        {
            "num_prototypes": 1024,
            "teacher_temperature": 0.04,
            "teacher_temperature_epochs": 0.0,
            "teacher_momentum": 0.99,
            "encoder.backbone": "resnet18",
            "encoder.width": 0.25,
            "encoder.small_images": True,
            "projector.kind": "simclr",
            "projector.dim": 128,
            "views.preset": "mocov2-small",
            "players.encoder.optimizer": "adamw",
            "players.encoder.learning_rate": 0.001,
            "players.encoder.weight_decay": 0.01,
            "players.encoder.clip_norm": 3.0,
            "training.epochs": 15,
            "training.batch_size": 128,
        },
    ),
]

DINO_DEFAULTS = [
    Pins(
        ("dino",),
        PAPER + ", section 3 and released defaults",
        {
            "temperature": 0.1,
            "teacher_temperature": 0.04,
            "teacher_temperature_start": 0.04,
            "teacher_temperature_epochs": 0.0,
            "centre_momentum": 0.9,
            "teacher_schedule": "cosine",
            "frozen_prototype_epochs": 1.0,
            "projector.kind": "dino",
        },
    ),
    Pins(
        ("dino",),
        OURS + ", sizes and teacher for small images",
        {
            "num_prototypes": 1024,
            "teacher_momentum": 0.99,
            "projector.hidden": 512,
            "projector.dim": 128,
            "views.preset": "mocov2-small",
            "players.encoder.weight_decay_final": None,
        },
    ),
]
