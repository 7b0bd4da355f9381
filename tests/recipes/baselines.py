"""Values of the ImageNet recipes without an opponent: MoCo v2 and v3, BYOL, SimSiam, SimCLR."""

from pins import Pins

MOCOV2 = ("mocov2-imagenet-200", "mocov2-imagenet-800")
MOCOV2_PINS = [
    Pins(MOCOV2, "Chen et al. 2020 (MoCo v2, arXiv:2003.04297)", {"method": "mocov2"}),
    Pins(
        MOCOV2,
        "MoCo README: --lr 0.03 --batch-size 256, and --mlp --moco-t 0.2 --aug-plus --cos for v2",
        {
            "temperature": 0.2,
            "projector.kind": "mocov2",
            "projector.hidden": 2048,
            "views.preset": "mocov2",
            "players.encoder.learning_rate": 0.03,
            "players.encoder.learning_rate_final": 0.0,
            "players.encoder.schedule": "cosine",
            "players.encoder.schedule_per_epoch": True,
            "training.batch_size": 256,
        },
    ),
    Pins(
        MOCOV2,
        "MoCo released code, defaults of main_moco.py: moco-k 65536, moco-m 0.999, moco-dim 128, "
        "SGD 0.9, wd 1e-4, fp32; moco/builder.py: one direction, negatives from the queue alone",
        {
            "encoder.backbone": "resnet50",
            "encoder.small_images": False,
            "queue.size": 65536,
            "teacher_momentum": 0.999,
            "projector.dim": 128,
            "symmetric": False,
            "in_batch": False,
            "players.encoder.optimizer": "sgd",
            "players.encoder.momentum": 0.9,
            "players.encoder.weight_decay": 1e-4,
            "training.image_size": 224,
            "training.precision": "float32",
        },
    ),
    Pins(MOCOV2[:1], "MoCo README, table of models: 200 epochs", {"training.epochs": 200}),
    Pins(MOCOV2[1:], "MoCo README, table of models: 800 epochs", {"training.epochs": 800}),
]

MOCOV3_RESNET = ("mocov3-imagenet-100", "mocov3-imagenet-300", "mocov3-imagenet-1000")
MOCOV3_VIT = ("mocov3-vit-small-imagenet-300",)
MOCOV3 = (*MOCOV3_RESNET, *MOCOV3_VIT)
CONFIG = "MoCo v3 released code, CONFIG.md, "
MOCOV3_PINS = [
    Pins(MOCOV3, "Chen et al. 2021 (MoCo v3, arXiv:2104.02057)", {"method": "mocov3"}),
    Pins(
        MOCOV3,
        "MoCo v3 released code, defaults of main_moco.py: batch 4096, moco-dim 256, moco-mlp-dim "
        "4096, momentum 0.9, SyncBN; CONFIG.md: --moco-m-cos in every command",
        {
            "teacher_schedule": "cosine",
            "projector.hidden": 4096,
            "projector.dim": 256,
            "predictor.hidden": 4096,
            "players.encoder.schedule": "cosine",
            "players.encoder.momentum": 0.9,
            "training.batch_size": 4096,
            "training.image_size": 224,
            "training.sync_batch_norm": True,
        },
    ),
    Pins(
        MOCOV3_RESNET,
        CONFIG + "ResNet-50: --crop-min=.2, LARS, moco-t 1.0, 10 epochs of warm-up; "
        "moco/builder.py: heads of a ResNet; moco/optimizer.py: biases and norms neither decay "
        "nor adapt",
        {
            "temperature": 1.0,
            "encoder.backbone": "resnet50",
            "encoder.small_images": False,
            "projector.kind": "mocov3",
            "predictor.kind": "normed-unbiased",
            "views.preset": "mocov3",
            "players.encoder.optimizer": "lars",
            "players.encoder.warmup_epochs": 10,
            "players.encoder.decay_vectors": False,
        },
    ),
    Pins(
        MOCOV3_RESNET[:1],
        CONFIG + "ResNet-50, 100 epochs: lr 0.6 * 4096 / 256, wd 1e-6, moco-m 0.99",
        {
            "teacher_momentum": 0.99,
            "players.encoder.learning_rate": 9.6,
            "players.encoder.weight_decay": 1e-6,
            "training.epochs": 100,
        },
    ),
    Pins(
        MOCOV3_RESNET[1:2],
        CONFIG + "ResNet-50, 300 epochs: lr 0.3 * 4096 / 256, wd 1e-6, moco-m 0.99",
        {
            "teacher_momentum": 0.99,
            "players.encoder.learning_rate": 4.8,
            "players.encoder.weight_decay": 1e-6,
            "training.epochs": 300,
        },
    ),
    Pins(
        MOCOV3_RESNET[2:],
        CONFIG + "ResNet-50, 1000 epochs: lr 0.3 * 4096 / 256, wd 1.5e-6, moco-m 0.996",
        {
            "teacher_momentum": 0.996,
            "players.encoder.learning_rate": 4.8,
            "players.encoder.weight_decay": 1.5e-6,
            "training.epochs": 1000,
        },
    ),
    Pins(
        MOCOV3_VIT,
        CONFIG + "ViT-Small, 300 epochs: AdamW, lr 1.5e-4 * 4096 / 256, wd 0.1, 40 epochs of "
        "warm-up, moco-t 0.2, moco-m 0.99, smallest crop 8 %, stop-grad-conv1; moco/builder.py: "
        "heads of a ViT; vits.py: 12 heads of attention, fixed sine-cosine positions",
        {
            "temperature": 0.2,
            "teacher_momentum": 0.99,
            "encoder.backbone": "vit_small_patch16_224",
            "encoder.patch_size": 16,
            "encoder.heads": 12,
            "encoder.frozen_patch_projection": True,
            "encoder.fixed_positions": True,
            "projector.kind": "simsiam",
            "predictor.kind": "normed-output",
            "views.preset": "byol",
            "players.encoder.optimizer": "adamw",
            "players.encoder.learning_rate": 0.0024,
            "players.encoder.warmup_epochs": 40,
            "players.encoder.weight_decay": 0.1,
            "training.epochs": 300,
        },
    ),
]

BYOL = ("byol-imagenet-100", "byol-imagenet-300", "byol-imagenet-1000")
ACSSL = ("acssl-imagenet-100", "acssl-imagenet-300")
BYOL_CODE = "Grill et al. 2020 (BYOL, arXiv:2006.07733), released code, configs/byol.py: "
BYOL_PINS = [
    Pins(BYOL, "Grill et al. 2020 (BYOL, arXiv:2006.07733)", {"method": "byol"}),
    Pins(
        (*BYOL, *ACSSL),
        BYOL_CODE + "heads 4096 to 256, momentum 0.9, 10 epochs of warm-up, batch norm over all "
        "devices; utils/schedules.py: teacher and rate follow half a cosine; utils/optimizers.py: "
        "biases and norms neither decay nor adapt; ResNet-50 at batch 4096 (section 3, not "
        "verified); views: appendix B",
        {
            "teacher_schedule": "cosine",
            "encoder.backbone": "resnet50",
            "encoder.small_images": False,
            "projector.kind": "simclr",
            "projector.hidden": 4096,
            "projector.dim": 256,
            "predictor.kind": "normed",
            "predictor.hidden": 4096,
            "views.preset": "byol",
            "players.encoder.optimizer": "lars",
            "players.encoder.schedule": "cosine",
            "players.encoder.warmup_epochs": 10,
            "players.encoder.momentum": 0.9,
            "players.encoder.decay_vectors": False,
            "training.batch_size": 4096,
            "training.image_size": 224,
            "training.sync_batch_norm": True,
        },
    ),
    Pins(
        (BYOL[0], ACSSL[0]),
        BYOL_CODE + "presets of 100 epochs: lr 0.45 * 4096 / 256, wd 1e-6, teacher 0.99",
        {
            "teacher_momentum": 0.99,
            "players.encoder.learning_rate": 7.2,
            "players.encoder.weight_decay": 1e-6,
            "training.epochs": 100,
        },
    ),
    Pins(
        (BYOL[1], ACSSL[1]),
        BYOL_CODE + "presets of 300 epochs: lr 0.3 * 4096 / 256, wd 1e-6, teacher 0.99",
        {
            "teacher_momentum": 0.99,
            "players.encoder.learning_rate": 4.8,
            "players.encoder.weight_decay": 1e-6,
            "training.epochs": 300,
        },
    ),
    Pins(
        BYOL[2:],
        BYOL_CODE + "presets of 1000 epochs: lr 0.2 * 4096 / 256, wd 1.5e-6, teacher 0.996",
        {
            "teacher_momentum": 0.996,
            "players.encoder.learning_rate": 3.2,
            "players.encoder.weight_decay": 1.5e-6,
            "training.epochs": 1000,
        },
    ),
]

SIMSIAM_PINS = [
    Pins(
        ("simsiam-imagenet-100",),
        "Chen & He 2020 (SimSiam, arXiv:2011.10566), released code, README's command with "
        "--fix-pred-lr and defaults of main_simsiam.py: 100 epochs, batch 512, lr 0.05 * 512 / "
        "256, SGD 0.9, wd 1e-4, dim 2048, pred-dim 512, SyncBN, half a cosine per epoch, fp32, "
        "MoCo v2's augmentation",
        {
            "method": "simsiam",
            "encoder.backbone": "resnet50",
            "encoder.small_images": False,
            "projector.kind": "simsiam",
            "projector.hidden": 2048,
            "projector.dim": 2048,
            "predictor.kind": "normed",
            "predictor.hidden": 512,
            "views.preset": "mocov2",
            "players.encoder.optimizer": "sgd",
            "players.encoder.learning_rate": 0.1,
            "players.encoder.schedule": "cosine",
            "players.encoder.schedule_per_epoch": True,
            "players.encoder.steady": ["predictor"],
            "players.encoder.momentum": 0.9,
            "players.encoder.weight_decay": 1e-4,
            "training.epochs": 100,
            "training.batch_size": 512,
            "training.image_size": 224,
            "training.precision": "float32",
            "training.sync_batch_norm": True,
        },
    )
]

SIMCLR_PINS = [
    Pins(
        ("simclr-imagenet-1000",),
        "Chen et al. 2020 (SimCLR, arXiv:2002.05709), section 2.2 and appendix B: LARS, lr 0.3 * "
        "4096 / 256, wd 1e-6, 10 epochs of warm-up, half a cosine, batch norm over all devices, "
        "temperature 0.1, head 2048 to 128 (quoted from memory, not verified)",
        {
            "method": "simclr",
            "temperature": 0.1,
            "encoder.backbone": "resnet50",
            "encoder.small_images": False,
            "projector.kind": "simclr",
            "projector.hidden": 2048,
            "projector.dim": 128,
            "views.preset": "simclr-imagenet",
            "players.encoder.optimizer": "lars",
            "players.encoder.learning_rate": 4.8,
            "players.encoder.schedule": "cosine",
            "players.encoder.warmup_epochs": 10,
            "players.encoder.momentum": 0.9,
            "players.encoder.weight_decay": 1e-6,
            "players.encoder.decay_vectors": False,
            "training.epochs": 1000,
            "training.batch_size": 4096,
            "training.image_size": 224,
            "training.sync_batch_norm": True,
        },
    )
]
