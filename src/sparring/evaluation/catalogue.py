"""The evaluation protocols by name. Importing this file does not import torch, so that help and
reports cost nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sparring.config import Tree
from sparring.evaluation.detection import detector_recipes

SCORED_IMAGES = 20_000
"""The score at the end of a run looks at no more images than this; `evaluate` looks at all."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """How a protocol is found and introduced.

    Attributes:
        module: file below `sparring.evaluation`; loaded when asked for.
        function: its function there.
        settings: its settings there.
        title: name in reports.
        short: name within a sentence and in narrow tables; empty: the title.
        question: what its number answers.
        labels: what the images must carry: `none`, `classes`, `tags` (classes, perhaps several in
            one image), `boxes`, `outlines`, `masks` or `domains`.
        headline: key of the number that tables quote, in [0, 1]; empty if there is none.
        measure: what that number is, in words.
        source: authors, year and arXiv id.
        variants: settings by name, for `--protocol NAME:VARIANT`.
        is_frozen: the encoder does not learn.
        is_joint: looks at both encoders itself, so it runs once.
    """

    module: str
    function: str
    settings: str
    title: str
    question: str
    labels: str
    source: str
    short: str = ""
    headline: str = "accuracy"
    measure: str = "accuracy"
    variants: Mapping[str, Tree] = field(default_factory=dict)
    is_frozen: bool = True
    is_joint: bool = False


# Wang et al. 2022 (CaCo), released code: LARS, 0.025 per 256 images at a batch of 4,096, to zero.
_CACO_PROBE: Tree = {
    "optimizer": "lars",
    "learning_rate": 0.025,
    "final_learning_rate": 0.0,
    "reference_batch": 256,
    "batch_size": 4096,
}
# Ho & Vasconcelos 2020 (CLAE), released code: Adam at a constant rate on features computed once.
_CLAE_PROBE: Tree = {
    "optimizer": "adam",
    "learning_rate": 3e-4,
    "final_learning_rate": 3e-4,
    "epochs": 1000,
    "crop_scale": None,
}

# Caron et al. 2020 (SwAV), released code: 20 epochs of batch 256 on ImageNet's 1 % (1,000 steps) or
# 10 %, drops at 12 and 16.
_SWAV_TUNING: Tree = {"batch_size": 256, "schedule": "steps", "crop_scale": [0.08, 1.0]}

PROTOCOLS: dict[str, Entry] = {
    "knn": Entry(
        module="frozen.knn",
        function="knn",
        settings="KnnSettings",
        title="Nearest neighbours (kNN)",
        short="kNN",
        question="do images of one class lie together?",
        labels="classes",
        source="Wu et al. 2018, arXiv:1805.01978",
    ),
    "linear": Entry(
        module="frozen.linear",
        function="linear",
        settings="LinearSettings",
        title="Linear probe",
        short="linear probe",
        question="can a straight cut tell the classes apart?",
        labels="classes",
        source=(
            "logistic regression, after Kornblith et al. 2019, arXiv:1805.08974; the variants as "
            "in the papers of their names"
        ),
        variants={
            "adco": {"recipe": {}},
            "adco-best": {"recipe": {"report": "best"}},
            "caco": {"recipe": _CACO_PROBE},
            "clae": {"recipe": _CLAE_PROBE},
            "clae-best": {"recipe": {**_CLAE_PROBE, "report": "best"}},
            "clae-uel": {"recipe": {**_CLAE_PROBE, "batch_size": 128, "input": "embeddings"}},
        },
    ),
    "geometry": Entry(
        module="frozen.geometry",
        function="geometry",
        settings="GeometrySettings",
        title="Geometry of the features",
        question="are the features spread out, or have they collapsed?",
        labels="none",
        headline="",
        measure="",
        source="Wang & Isola 2020, arXiv:2005.10242; Roy & Vetterli 2007",
    ),
    "semi-supervised": Entry(
        module="finetuning.semi_supervised",
        function="semi_supervised",
        settings="SemiSupervisedSettings",
        title="Semi-supervised",
        question="how well does it learn from a few labels?",
        labels="classes",
        measure="accuracy at the smallest share of the labels, mean over draws",
        source=(
            "Zhai et al. 2019, arXiv:1905.03670 (1 % and 10 %); rates and length after Caron et "
            "al. 2020 (SwAV), arXiv:2006.09882"
        ),
        variants={
            "swav-1": {
                "fractions": [0.01],
                "tuning": {
                    **_SWAV_TUNING,
                    "steps": 1000,
                    "backbone_learning_rate": 0.02,
                    "head_learning_rate": 5.0,
                },
            },
            "swav-10": {
                "fractions": [0.1],
                "tuning": {
                    **_SWAV_TUNING,
                    "steps": 10000,
                    "backbone_learning_rate": 0.01,
                    "head_learning_rate": 0.2,
                },
            },
        },
        is_frozen=False,
    ),
    "finetune": Entry(
        module="finetuning.finetune",
        function="finetune",
        settings="FinetuneSettings",
        title="Fine-tuning",
        question="what does the whole network reach with all labels?",
        labels="classes",
        source=(
            "Kornblith et al. 2019, arXiv:1805.08974; the variant after Ericsson et al. 2021, "
            "arXiv:2011.13377"
        ),
        variants={
            "ssl-transfer": {
                "tuning": {"steps": 5000, "nesterov": True},
                "learning_rates": [1e-4, 1e-3, 1e-2, 1e-1],
                "weight_decays": [0.0, 1e-6, 1e-5, 1e-4, 1e-3],
            }
        },
        is_frozen=False,
    ),
    "transfer": Entry(
        module="frozen.transfer",
        function="transfer",
        settings="TransferSettings",
        title="Linear transfer",
        question="do frozen features serve another set, by the conventions of the transfer papers?",
        labels="tags",
        headline="score",
        measure="accuracy, mean-per-class accuracy or mAP, as is usual for the set",
        source="Kornblith et al. 2019, arXiv:1805.08974; Ericsson et al. 2021, arXiv:2011.13377",
    ),
    "verdict": Entry(
        module="pretraining_again.verdict",
        function="verdict",
        settings="VerdictSettings",
        title="Verdict",
        question="should I pretrain at all?",
        labels="classes",
        measure="accuracy of this run's better classifier",
        source=(
            "our own; equal labels, and supervised learning from scratch with equal steps and "
            "with the whole budget"
        ),
        is_frozen=False,
        is_joint=True,
    ),
    "robustness": Entry(
        module="robustness.robustness",
        function="robustness",
        settings="RobustnessSettings",
        title="Robustness of a linear probe",
        question="how much is lost under damage and under attack?",
        labels="classes",
        headline="corruption_accuracy",
        measure="accuracy under common corruptions, mean over kinds and severities",
        source="Hendrycks & Dietterich 2019, arXiv:1903.12261; Croce & Hein 2020, arXiv:2003.01690",
        variants={"corruptions": {"attacks": ()}},
    ),
    "domains": Entry(
        module="pretraining_again.domains",
        function="domains",
        settings="DomainsSettings",
        title="Unseen domain",
        question="does what was learned hold in a domain that was not there?",
        labels="domains",
        measure="accuracy at the smallest share of the labels, mean over domains held out",
        source="Zhang et al. 2022, arXiv:2107.06219 (fractions and classifiers, not verified)",
        variants={
            "linear": {"fractions": [0.01, 0.1, 1.0], "fine_tune_from": 2.0},
            "udg": {"fractions": [0.01, 0.05, 0.1, 1.0]},
            "own-encoder": {"pretrain": "run"},
        },
        is_frozen=False,
    ),
    "data-efficiency": Entry(
        module="pretraining_again.data_efficiency",
        function="data_efficiency",
        settings="DataEfficiencySettings",
        title="Data efficiency",
        question="how does the score grow with the images seen without labels?",
        labels="classes",
        measure="accuracy after pretraining on all images, mean over seeds",
        source="ours; the factor is read off the curves of a method and its control",
        variants={"same-steps": {"fixed": "steps"}},
        is_joint=True,
    ),
    "detection": Entry(
        module="detection.detection",
        function="detection",
        settings="DetectionSettings",
        title="Object detection",
        question=(
            "does the encoder help to find objects, when a detector with it learns from boxes?"
        ),
        labels="boxes",
        headline="ap",
        measure="average precision (COCO)",
        source=(
            "Faster R-CNN, Ren et al. 2015, arXiv:1506.01497, with the recipes of MoCo, He et al. "
            "2020, arXiv:1911.05722"
        ),
        variants=detector_recipes.DETECTION,
        is_frozen=False,
    ),
    "instance-segmentation": Entry(
        module="detection.instance_segmentation",
        function="instance_segmentation",
        settings="InstanceSegmentationSettings",
        title="Instance segmentation",
        question=(
            "does the encoder help to draw the outline of each object, when a detector with it "
            "learns from outlines?"
        ),
        labels="outlines",
        headline="ap",
        measure="average precision of outlines (COCO)",
        source=(
            "Mask R-CNN, He et al. 2017, arXiv:1703.06870, with the recipes of MoCo, He et al. "
            "2020, arXiv:1911.05722"
        ),
        variants=detector_recipes.INSTANCES,
        is_frozen=False,
    ),
    "segmentation": Entry(
        module="segmentation.segmentation",
        function="segmentation",
        settings="SegmentationSettings",
        title="Segmentation",
        question="is it a good start for a network that names every pixel?",
        labels="masks",
        headline="miou",
        measure="mean IoU",
        source=(
            "Long et al. 2015, arXiv:1411.4038; variants Chen et al. 2017, arXiv:1706.05587, and "
            "He et al. 2020, arXiv:1911.05722"
        ),
        variants={
            "fcn": {},
            "deeplabv3": {"head": "deeplabv3", "dropout": 0.5},
            # He et al. 2020, appendix; dropout is not spoken of.
            "moco": {
                "head": "dilated-fcn",
                "head_channels": 256,
                "dropout": 0.0,
                "output_stride": 16,
                "crop": 513,
                "batch_size": 16,
                "epochs": 50,
                "backbone_learning_rate": 0.003,
                "head_learning_rate": 0.003,
                "schedule": "steps",
            },
            # Chen et al. 2017, section 4, first of two stages; dropout and weight decay are not
            # verified.
            "deeplabv3-paper": {
                "head": "deeplabv3",
                "head_channels": 256,
                "dropout": 0.5,
                "output_stride": 16,
                "crop": 513,
                "batch_size": 16,
                "steps": 30_000,
                "backbone_learning_rate": 0.007,
                "head_learning_rate": 0.007,
            },
        },
        is_frozen=False,
    ),
    "pixel-probe": Entry(
        module="segmentation.pixel_probe",
        function="pixel_probe",
        settings="PixelProbeSettings",
        title="Linear probe of pixels",
        question="do the frozen maps tell what is where?",
        labels="masks",
        headline="miou",
        measure="mean IoU",
        source=(
            "logistic regression on frozen maps, dilated as in Chen et al. 2017, arXiv:1606.00915"
        ),
    ),
}


def entry_of(name: str) -> Entry | None:
    """The protocol behind a name of scores.json, which may have a variant; None for an unknown
    one."""
    return PROTOCOLS.get(name.partition(":")[0])


def title_of(name: str) -> str:
    """Title of a protocol, with its variant.

    Example:
        >>> title_of("knn"), title_of("mine")
        ('Nearest neighbours (kNN)', 'mine')
    """
    entry, variant = entry_of(name), name.partition(":")[2]
    return name if entry is None else f"{entry.title}, {variant}" if variant else entry.title


def short_title_of(name: str) -> str:
    """The same within a sentence.

    Example:
        >>> short_title_of("knn"), short_title_of("linear:adco"), short_title_of("finetune")
        ('kNN', 'linear probe (adco)', 'fine-tuning')
    """
    entry, variant = entry_of(name), name.partition(":")[2]
    if entry is None:
        return name
    return (entry.short or entry.title[0].lower() + entry.title[1:]) + (
        f" ({variant})" if variant else ""
    )


def in_order(names: Iterable[str]) -> list[str]:
    """Names of scores.json in the order of the catalogue, variants behind their protocol, unknown
    ones last; each once."""
    known = list(PROTOCOLS)
    bases = {name: name.partition(":")[0] for name in dict.fromkeys(names)}
    return sorted(
        bases, key=lambda name: known.index(bases[name]) if bases[name] in known else len(known)
    )


def headline_of(name: str, result: Mapping[str, Any]) -> float | None:
    """The number that tables quote, in [0, 1], if the result has one."""
    entry = entry_of(name)
    value = result.get(entry.headline if entry is not None else "accuracy")
    return float(value) if isinstance(value, int | float) else None
