"""Values of the ImageNet recipes whose opponent is a learned bank: AdCo and CaCo.

Written from the authors' released code and its README; the tables of both papers were not available
to us, so nothing here is verified against them.
"""

from pins import Pins

ADCO_PLAIN = ("adco-imagenet-200", "adco-imagenet-800")
ADCO_MULTICROP = ("adco-imagenet-200-multicrop", "adco-imagenet-800-multicrop")
ADCO_SYMMETRIC = ("adco-imagenet-200-symmetric",)
ADCO_SMALL_BANK = ("adco-imagenet-200-symmetric-small-bank",)
ADCO_LARGE_BANK = (*ADCO_PLAIN, *ADCO_MULTICROP, *ADCO_SYMMETRIC)
ADCO = (*ADCO_LARGE_BANK, *ADCO_SMALL_BANK)
ADCO_200 = tuple(name for name in ADCO if "-200" in name)
ADCO_800 = tuple(name for name in ADCO if "-800" in name)
ADCO_CODE = "Hu et al. 2021 (AdCo, arXiv:2011.08435), released code fd65f12, "

ADCO_PINS = [
    Pins(ADCO, "Hu et al. 2021 (AdCo, arXiv:2011.08435), title", {"method": "adco"}),
    Pins(
        ADCO,
        ADCO_CODE + "model/AdCo.py: MoCo's network, teacher 0.999, head without batch norm",
        {
            "encoder.backbone": "resnet50",
            "encoder.small_images": False,
            "projector.kind": "mocov2",
            "projector.hidden": 2048,
            "projector.dim": 128,
            "teacher_momentum": 0.999,
        },
    ),
    Pins(
        ADCO,
        ADCO_CODE + "training/train.py: keys of the batch are negatives too, fp32; "
        "training/main_worker.py: the bank learns as soon as the warm-up pass has filled it",
        {"in_batch": True, "queue_epochs": 0.0, "training.precision": "float32"},
    ),
    Pins(
        ADCO,
        ADCO_CODE + "ops/argparser.py (lr_final, momentum, wd, mem_wd, batch_size) and "
        "training/train_utils.py: half a cosine per epoch for the encoder, no schedule for the "
        "bank; weight decay on all parameters",
        {
            "players.encoder.optimizer": "sgd",
            "players.encoder.learning_rate_final": 0.0006,
            "players.encoder.schedule": "cosine",
            "players.encoder.schedule_per_epoch": True,
            "players.encoder.momentum": 0.9,
            "players.encoder.weight_decay": 1e-4,
            "players.bank.optimizer": "sgd",
            "players.bank.schedule": "constant",
            "players.bank.momentum": 0.9,
            "players.bank.weight_decay": 1e-4,
            "training.batch_size": 256,
            "training.image_size": 224,
        },
    ),
    Pins(
        ADCO_LARGE_BANK,
        "AdCo README, commands of the plain, symmetric and multi-crop runs: --lr=0.03 "
        "--memory_lr=3 --moco_t=0.12 --mem_t=0.02, cluster 65536; the flags of the 800-epoch runs "
        "are not published, those of 200 epochs are used (not verified)",
        {
            "temperature": 0.12,
            "bank.size": 65536,
            "bank.temperature": 0.02,
            "players.encoder.learning_rate": 0.03,
            "players.bank.learning_rate": 3.0,
        },
    ),
    Pins(
        ADCO_SMALL_BANK,
        "AdCo README, command of the small bank: --sym=1 --lr=0.04 --memory_lr=3 --moco_t=0.14 "
        "--mem_t=0.03 --cluster 8192",
        {
            "temperature": 0.14,
            "bank.size": 8192,
            "bank.temperature": 0.03,
            "players.encoder.learning_rate": 0.04,
            "players.bank.learning_rate": 3.0,
        },
    ),
    Pins(ADCO_PLAIN, "AdCo README: --sym=0", {"form": "one-way", "views.preset": "mocov2"}),
    Pins(
        (*ADCO_SYMMETRIC, *ADCO_SMALL_BANK),
        "AdCo README: --sym=1",
        {"form": "symmetric", "views.preset": "mocov2"},
    ),
    Pins(
        ADCO_MULTICROP,
        "AdCo README: --multi_crop=1",
        {"form": "multi-crop", "views.preset": "multi-crop-adco"},
    ),
    Pins(ADCO_200, "AdCo README, table of results: 200 epochs", {"training.epochs": 200}),
    Pins(ADCO_800, "AdCo README, table of results: 800 epochs", {"training.epochs": 800}),
]

CACO_1024 = ("caco-imagenet-200",)
CACO_4096 = ("caco-imagenet-200-large-batch",)
CACO_MULTICROP = ("caco-imagenet-800-multicrop",)
CACO = (*CACO_1024, *CACO_4096, *CACO_MULTICROP)
CACO_CODE = "Wang et al. 2022 (CaCo, arXiv:2203.14370), released code a72b345, "

CACO_PINS = [
    Pins(CACO, "Wang et al. 2022 (CaCo, arXiv:2203.14370), title", {"method": "caco"}),
    Pins(
        CACO,
        CACO_CODE + "model/CaCo.py: three bias-free layers, no batch norm after the last; SyncBN "
        "everywhere; fp32",
        {
            "encoder.backbone": "resnet50",
            "encoder.small_images": False,
            "projector.kind": "three-layer",
            "training.sync_batch_norm": True,
            "training.precision": "float32",
        },
    ),
    Pins(
        CACO,
        "CaCo README, flags of all commands: --moco_dim=256 --mlp_dim=2048 --moco_m=0.99 "
        "--moco_m_decay=1 --moco_t=0.08 --mem_t=0.08 --cluster=65536 --memory_lr=3.0 "
        "--memory_lr_final=3.0 --mem_momentum=0.9 --mem_wd=0 --warmup_epochs=10 --wd=1.5e-6",
        {
            "projector.hidden": 2048,
            "projector.dim": 256,
            "teacher_momentum": 0.99,
            "teacher_schedule": "cosine",
            "temperature": 0.08,
            "bank.size": 65536,
            "bank.temperature": 0.08,
            "players.bank.learning_rate": 3.0,
            "players.bank.schedule": "constant",
            "players.bank.warmup_epochs": 10,
            "players.bank.momentum": 0.9,
            "players.bank.weight_decay": 0.0,
            "players.encoder.warmup_epochs": 10,
            "players.encoder.weight_decay": 1.5e-6,
        },
    ),
    Pins(
        CACO,
        CACO_CODE + "training/train_caco.py: rates change per epoch, after 10 of warm-up half a "
        "cosine for the encoder; LARS leaves biases and norms alone; training/init_memory.py: the "
        "game begins with the full bank; training/main_worker.py: crops of 224",
        {
            "queue_epochs": 0.0,
            "players.encoder.optimizer": "lars",
            "players.encoder.schedule": "cosine",
            "players.encoder.schedule_per_epoch": True,
            "players.encoder.momentum": 0.9,
            "players.encoder.decay_vectors": False,
            "players.bank.optimizer": "sgd",
            "players.bank.schedule_per_epoch": True,
            "training.image_size": 224,
        },
    ),
    Pins(
        CACO_1024,
        "CaCo README, single crop on one node: batch 1024, 200 epochs, --lr=0.3 "
        "--lr_final=0.003, both times batch / 256",
        {
            "views.preset": "mocov3",
            "players.encoder.learning_rate": 1.2,
            "players.encoder.learning_rate_final": 0.012,
            "training.epochs": 200,
            "training.batch_size": 1024,
        },
    ),
    Pins(
        CACO_4096,
        "CaCo README, single crop on four nodes: batch 4096, 200 epochs, --lr=0.3 "
        "--lr_final=0.003, both times batch / 256; the command's nodes_num=1 would mean 16,384, "
        "four nodes are assumed (not verified)",
        {
            "views.preset": "mocov3",
            "players.encoder.learning_rate": 4.8,
            "players.encoder.learning_rate_final": 0.048,
            "training.epochs": 200,
            "training.batch_size": 4096,
        },
    ),
    Pins(
        CACO_MULTICROP,
        "CaCo README, multi-crop on four nodes: batch 2048, 800 epochs, --lr=0.3 "
        "--lr_final=0.003, both times batch / 256",
        {
            "views.preset": "multi-crop-caco",
            "players.encoder.learning_rate": 2.4,
            "players.encoder.learning_rate_final": 0.024,
            "training.epochs": 800,
            "training.batch_size": 2048,
        },
    ),
]
