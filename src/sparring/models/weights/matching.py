"""Weights of a file matched to a network by their names, with lines that tell what was found."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from sparring.errors import DataError
from sparring.models.weights.layouts import (
    EFFICIENTNET,
    KINDS,
    PARTS,
    PREFIXES,
    prefixes,
    unwrapped,
)
from sparring.models.weights.nearest import fitting_backbone
from sparring.models.weights.reading import States

LEAST_SHARE = 0.5
"""Share of the network's tensors below which weights are those of another network, whatever may be
missing. Tensors of other shapes make them that too, except the first convolution's."""
_SHOWN = 3


@dataclass(frozen=True)
class Match:
    """Tensors of a file that a network takes.

    Attributes:
        state: tensors by the network's names.
        kind: key of `KINDS`.
        prefix: what stands before the names.
        layout: whose names the file has, and where, in words.
        missing: the network's tensors that the file lacks.
        unused: tensors of the file that are no part of the network: heads, teachers, queues.
        deeper: those among them that continue the network, such as blocks that it has not.
        resampled: position embeddings that were resampled to the network's image size.
        misfits: tensors that the file has in another shape, and both shapes.
        first: the network's first tensor of a convolution, whose shape depends on the images.
    """

    state: dict[str, Tensor]
    kind: str
    prefix: str
    layout: str
    missing: list[str]
    unused: list[str]
    deeper: list[str]
    resampled: list[str]
    misfits: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    first: str

    @property
    def num_loaded(self) -> int:
        """Number of tensors that are taken, without counts of batches."""
        return sum(not name.endswith("num_batches_tracked") for name in self.state)

    def content(self) -> str:
        """SHA-256 of the tensors and their names."""
        digest = sha256()
        for name, tensor in sorted(self.state.items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class _Candidate:
    """The part of a file that is taken for the network, its prefix, and its names."""

    part: str
    prefix: str
    kind: str
    names: dict[str, str]
    """Names in the part by the network's names, also of tensors that it has not."""
    fitting: int
    hits: int

    @property
    def layout(self) -> str:
        """Whose names these are, in words."""
        who = PREFIXES.get(self.prefix, "an unknown prefix")
        places = [
            *([f"of {self.part}"] if self.part else []),
            *([f"after '{self.prefix}', {who}"] if self.prefix else []),
        ]
        return " ".join([self.kind, *places])


def match(states: States, network: nn.Module, *, where: str, backbone: str) -> Match:
    """The tensors of a file that a network takes, by name.

    Args:
        states: tensors of the file.
        network: network that is to take them.
        where: the file, for messages.
        backbone: `encoder.backbone`, for messages.

    Raises:
        DataError: if no name is one of the network's, or several parts of the file may be meant.
    """
    ours = network.state_dict()
    wanted = {name for name in ours if not name.endswith("num_batches_tracked")}
    found = _best(states, ours, wanted, where)
    if found is None:
        keys = [key for tensors in states.values() for key in tensors]
        raise DataError(
            f"{where} has no names of {backbone}'s weights"
            f"{fitting_backbone(states, other_than=backbone)}; its "
            f"{len(keys):,} names begin with {_some(keys)}"
        )
    if found.kind == EFFICIENTNET and not backbone.startswith("tf_"):
        raise DataError(
            f"{where} has {EFFICIENTNET}: such networks pad as TensorFlow does, and {backbone} "
            f"does not{fitting_backbone(states, other_than=backbone)}"
        )
    tensors = states[found.part]
    given = {name: tensors[key] for name, key in found.names.items() if name in ours}
    state, resampled = dict(given), []
    for name, tensor in given.items():
        if name.endswith("pos_embed") and (other := _resampled(tensor, ours[name], network)):
            state[name] = other[0]
            resampled.append(name)
    misfits = {
        name: (tuple(tensor.shape), tuple(ours[name].shape))
        for name, tensor in state.items()
        if tensor.shape != ours[name].shape
    }
    tops = {name.partition(".")[0] for name in wanted}
    used = {found.names[name] for name in given}
    return Match(
        state={name: tensor for name, tensor in state.items() if name not in misfits},
        kind=found.kind,
        prefix=found.prefix,
        layout=found.layout,
        missing=sorted(wanted - state.keys()),
        unused=sorted(tensors.keys() - used),
        deeper=sorted(
            key
            for name, key in found.names.items()
            if name not in ours and name.partition(".")[0] in tops
        ),
        resampled=resampled,
        misfits=misfits,
        first=next((name for name, tensor in ours.items() if tensor.ndim == 4), ""),
    )


def _best(
    states: States, ours: Mapping[str, Tensor], wanted: set[str], where: str
) -> _Candidate | None:
    """The candidate with most of the network's names, the preferred one of several."""
    candidates = list(_candidates(states, ours, wanted))
    if not candidates:
        return None
    most = max((one.hits, one.fitting) for one in candidates)
    best = [one for one in candidates if (one.hits, one.fitting) == most]
    best.sort(key=_preference)
    unknown = [one for one in best if one.prefix not in PREFIXES]
    if best[0] in unknown and len({one.prefix for one in unknown}) > 1:
        names = ", ".join(sorted({one.prefix for one in unknown})[:_SHOWN])
        raise DataError(
            f"{where} holds the network several times, after {names}; give a file with one of them"
        )
    return best[0]


def _candidates(
    states: States, ours: Mapping[str, Tensor], wanted: set[str]
) -> Iterable[_Candidate]:
    for part, tensors in states.items():
        plain = {unwrapped(key): key for key in tensors}
        for prefix in prefixes(plain):
            inner = [name[len(prefix) :] for name in plain if name.startswith(prefix)]
            for kind, rename in KINDS.items():
                names = {
                    renamed: plain[prefix + name] for name, renamed in rename(inner, wanted).items()
                }
                hits = [name for name in names if name in wanted]
                if hits:
                    fitting = sum(tensors[names[name]].shape == ours[name].shape for name in hits)
                    yield _Candidate(part, prefix, kind, names, fitting, len(hits))


def _preference(one: _Candidate) -> tuple[int, int, int]:
    """Place among candidates that fit equally well."""
    last = one.part.rpartition(".")[2] if one.part not in PARTS else one.part
    known = list(PREFIXES)
    return (
        PARTS.index(last) if last in PARTS else len(PARTS),
        known.index(one.prefix) if one.prefix in known else len(known),
        list(KINDS).index(one.kind),
    )


def _resampled(tensor: Tensor, ours: Tensor, network: nn.Module) -> list[Tensor]:
    """Position embeddings (1, tokens, channels) at the network's image size, as timm resamples
    them; none where shapes agree or the difference has another reason."""
    grid = getattr(getattr(network, "patch_embed", None), "grid_size", None)
    if grid is None or tensor.ndim != 3 or ours.ndim != 3 or tensor.shape == ours.shape:
        return []
    prefix = ours.shape[1] - grid[0] * grid[1]
    side = round(max(tensor.shape[1] - prefix, 0) ** 0.5)
    if tensor.shape[2] != ours.shape[2] or prefix < 0 or side**2 + prefix != tensor.shape[1]:
        return []
    return [resample_abs_pos_embed(tensor, new_size=list(grid), num_prefix_tokens=prefix)]


def require_fit(
    found: Match, *, where: str, backbone: str, is_partial: bool | None, states: States
) -> None:
    """Check that a match is the whole network, or enough of it where parts may be missing.

    Args:
        found: match of a file with a network.
        where: the file, for messages.
        backbone: `encoder.backbone`, for messages.
        is_partial: whether some of the network's tensors may stay as they are; None: no, and no
            setting would allow it.
        states: tensors of the file, to find the network that they fit.

    Raises:
        DataError: if tensors have other shapes, are missing, or belong to a deeper network.
    """
    lost = [*found.misfits, *found.missing]
    total = len(lost) + found.num_loaded
    is_same_network = found.num_loaded >= LEAST_SHARE * total and not found.misfits.keys() - {
        found.first
    }
    if lost and not (is_same_network and is_partial):
        how = fitting_backbone(states, other_than=backbone)
        if is_same_network and not how and is_partial is not None:
            how = "; encoder.partial_weights=true leaves these as they are drawn"
        raise DataError(f"{where} does not fit {backbone}: {_reason(found, total)}{how}")
    if found.deeper and not is_partial:
        raise DataError(
            f"{where} holds a network with more layers than {backbone}, such as "
            f"{_some(found.deeper)}{fitting_backbone(states, other_than=backbone)}"
        )
    for name, tensor in found.state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise DataError(
                f"{where}: {name} holds values that are not finite; its training had diverged"
            )


def _reason(found: Match, total: int) -> str:
    if found.misfits:
        name = found.first if found.first in found.misfits else next(iter(found.misfits))
        theirs, ours = found.misfits[name]
        more = len(found.misfits) - 1
        others = f" and {more:,} more of {total:,} tensors" if more else ""
        why = _why(name, theirs, ours) if name == found.first else ""
        return f"{name} is {_shape(theirs)} there and {_shape(ours)} here{others}{why}"
    return f"{len(found.missing):,} of {total:,} tensors are missing, {_some(found.missing)}"


def _why(name: str, theirs: tuple[int, ...], ours: tuple[int, ...]) -> str:
    """What explains another shape of the first convolution, if anything is known to."""
    if len(theirs) != 4 or len(ours) != 4:
        return ""
    if theirs[1] != ours[1] and {theirs[1], ours[1]} <= {1, 2, 3, 4} and theirs[0] == ours[0]:
        return f" (images of {theirs[1]} channels there, and data.channels={ours[1]})"
    if theirs[0] == ours[0] and theirs[2:] != ours[2:]:
        if name.startswith("patch_embed."):
            return f" (patches of {theirs[2]} px there; leave encoder.patch_size out)"
        stem = "usual" if theirs[2] == 7 else "small-image" if theirs[2] == 3 else "another"
        return f" ({stem} stem there; leave encoder.small_images out)"
    if theirs[0] != ours[0]:
        return f" (a width of {theirs[0] / ours[0]:g} times this one's; see encoder.width)"
    return ""


def described(found: Match, *, where: str, backbone: str) -> list[str]:
    """Lines that tell what was loaded, what stays untrained and what is not used."""
    loaded = found.num_loaded
    total = loaded + len(found.missing) + len(found.misfits)
    lines = [
        f"weights of {where} ({found.layout}): {loaded:,} of {total:,} tensors of {backbone} loaded"
    ]
    if untrained := [*found.missing, *found.misfits]:
        lines.append(f"not in the weights, so untrained: {', '.join(untrained)}")
    if found.resampled:
        lines.append(f"resampled to this image size: {', '.join(found.resampled)}")
    if found.unused:
        counts = Counter(_group(name, found.prefix) for name in found.unused)
        shown = [f"{name} ({count:,})" for name, count in counts.most_common(6)]
        more = f" and {len(counts) - 6:,} other groups" if len(counts) > 6 else ""
        lines.append(f"not used of the weights: {', '.join(shown)}{more}")
    return lines


def _group(name: str, prefix: str) -> str:
    """Beginning of a name by which tensors are counted together."""
    if prefix and name.startswith(prefix):
        return prefix + name.removeprefix(prefix).partition(".")[0]
    parts = name.split(".")
    return ".".join(parts[: 2 if parts[0] in ("module", "model") else 1])


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
