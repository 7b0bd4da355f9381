"""Encoders in float16, many in a few files that are small enough to be copied out of a machine.

    python benchmarks/half_encoders.py encoders-*.safetensors --out FOLDER

writes each encoder of these files as FOLDER/STUDY/RUN.safetensors in float32, with the metadata of
the original; `encoder.weights` takes such files.

Matrices and kernels are rounded to float16; vectors, such as the statistics of batch norm, stay as
they are.
"""

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

FILE_BYTES, MOST_FILES = 15 * 2**20, 4
"""Of the tensors in a file, whose header is small, and files in all."""
BETWEEN = " : "
"""Stands between the name of an encoder and that of its tensor."""
METADATA = "encoders"


def filled(tensors: Iterable[tuple[str, Tensor]], limit: int) -> Iterator[dict[str, Tensor]]:
    """Tensors in groups of at most so many bytes, unless one alone is larger."""
    group: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors:
        if group and size + tensor.nbytes > limit:
            yield group
            group, size = {}, 0
        group[name] = tensor
        size += tensor.nbytes
    if group:
        yield group


def halved(backbone: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, those with several dimensions in float16."""
    return {
        name: tensor.half() if tensor.ndim > 1 and tensor.is_floating_point() else tensor
        for name, tensor in safetensors.torch.load_file(backbone).items()
    }


def write_halves(
    encoders: Mapping[str, Path], folder: Path, *, limit: int = FILE_BYTES
) -> list[str]:
    """Write the first encoders that fit as `encoders-N.safetensors`; gives the names of the others.

    Args:
        encoders: safetensors files by name.
        folder: for the files.
        limit: bytes of the tensors in a file.
    """
    files: list[dict[str, Tensor]] = []
    tensors: list[tuple[str, Tensor]] = []
    metadata, taken = {}, 0
    for name, backbone in encoders.items():
        own = [(f"{name}{BETWEEN}{key}", tensor) for key, tensor in halved(backbone).items()]
        wanted = list(filled([*tensors, *own], limit))
        if len(wanted) > MOST_FILES:
            break
        files, tensors, taken = wanted, [*tensors, *own], taken + 1
        with safe_open(backbone, "pt") as file:
            metadata[name] = file.metadata()
    for number, group in enumerate(files, start=1):
        content = safetensors.torch.save(group, metadata={METADATA: json.dumps(metadata)})
        (folder / f"encoders-{number}.safetensors").write_bytes(content)
    return list(encoders)[taken:]


def join(files: Sequence[Path], out: Path) -> list[Path]:
    """Files of the encoders in those of `write_halves`, all of which have to be given."""
    found: dict[str, dict[str, Tensor]] = {}
    metadata = {}
    for path in files:
        with safe_open(path, "pt") as file:
            metadata |= json.loads(file.metadata()[METADATA])
        for name, tensor in safetensors.torch.load_file(path).items():
            encoder, _, key = name.rpartition(BETWEEN)
            whole = tensor.float() if tensor.dtype == torch.float16 else tensor
            found.setdefault(encoder, {})[key] = whole
    written = []
    for name, weights in found.items():
        path = out / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(weights, path, metadata=metadata[name])
        written.append(path)
    return written


def main() -> None:
    """Write the encoders of some files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    options = parser.parse_args()
    for path in join(options.files, options.out):
        print(path)


if __name__ == "__main__":
    main()
