"""Malformed files, made from small whole ones by seeded draws."""

import copy
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

BYTES = (b"", b"\0", b"\xff" * 4, b"\x7f\xff\xff\xff", b"\n", b",", b'"', b"\t", b"1e999", b"-1")
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 2**70, 0.5, 1e308, -1e-300),
    *(float("nan"), float("inf"), "", "0", "a\0b", "\n", "\ud800", "x" * 10_000, [], {}),
    *([[]], [None] * 3, {"": None}, [1e308] * 4, "../../a.png", "/dev/zero"),
)
"""What is put in the place of a value, whatever that was."""
FIELDS = (slice(0, 100), slice(124, 136), slice(156, 157), slice(257, 265), slice(345, 500))
"""Fields of a tar header: name, size, type, format and prefix."""
DEEP = 100_000
"""Depth of nesting that no parser survives by recursion."""


def mutated(content: bytes, name: str, draw: random.Random) -> bytes:
    """A malformed copy of a file, whose name tells what it holds."""
    changes: dict[str, Callable[[bytes, random.Random], bytes]] = {
        ".json": changed_json,
        ".jsonl": changed_json,
        ".pt": changed_tensors,
        ".tar": changed_tar,
    }
    change = changes.get(Path(name).suffix, changed_bytes)
    return (change if draw.random() < 0.6 else changed_bytes)(content, draw)


def changed_bytes(content: bytes, draw: random.Random) -> bytes:
    """A copy with a few bytes changed, put in, taken out, doubled or cut off."""
    found = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        at = draw.randrange(len(found) + 1)
        length = draw.choice((1, 1, 2, 4, 64))
        match draw.randrange(6):
            case 0:
                found[at : at + 1] = bytes([draw.randrange(256)])
            case 1 if at < len(found):
                found[at] ^= 1 << draw.randrange(8)
            case 2:
                found[at : at + length] = draw.choice(BYTES)
            case 3:
                found[at:at] = found[at : at + length] * draw.choice((1, 1, 3, 1000))
            case 4:
                found[at : at + length] = draw.randbytes(length)
            case _ if draw.random() < 0.2:
                del found[at:]
    return bytes(found)


def changed_tar(content: bytes, draw: random.Random) -> bytes:
    """A copy of a tar archive in which fields of headers are others, with right checksums."""
    found = bytearray(content)
    heads = [at for at in range(0, len(found), 512) if found[at + 257 : at + 262] == b"ustar"]
    for _ in range(draw.choice((1, 1, 2, 4))):
        at, field = draw.choice(heads), draw.choice(FIELDS)
        length = field.stop - field.start
        digits = b"%0*o" % (max(1, length - 1), draw.choice((0, 1, 511, 2**20, 2**33 - 1)))
        values = (*BYTES, digits, draw.choice(b"0123567LKxgSN\0").to_bytes(1, "big"), b"\x80" * 20)
        value = draw.choice(values)[:length]
        found[at + field.start : at + field.start + len(value)] = value
        found[at + 148 : at + 156] = b" " * 8
        found[at + 148 : at + 156] = b"%06o\0 " % sum(found[at : at + 512])
    return bytes(found)


def changed_json(content: bytes, draw: random.Random) -> bytes:
    """A copy in which values have other types, are missing or doubled; rarely nested too deep."""
    if draw.random() < 0.02:
        return b"[" * DEEP if draw.random() < 0.5 else b'{"step":' * DEEP
    lines = content.splitlines()
    try:
        tree = [json.loads(line) for line in lines] if len(lines) > 1 else [json.loads(content)]
    except ValueError:
        tree = [json.loads(content)]
    tree = changed_tree(tree, draw)
    return b"\n".join(json.dumps(each).encode() for each in tree)


def changed_tensors(content: bytes, draw: random.Random) -> bytes:
    """A file of PyTorch's in which values have other types, are missing, or have other shapes."""
    tree = torch.load(io.BytesIO(content), weights_only=True)
    (tree,) = changed_tree([tree], draw) or [None]
    file = io.BytesIO()
    torch.save(tree, file)
    return file.getvalue()


def changed_tree(tree: list[Any], draw: random.Random) -> list[Any]:
    """A nested value with one to three of its parts replaced, taken out or doubled."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            break
        holder, key = draw.choice(places)
        match draw.randrange(5):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.insert(key, holder[key])
            case 2 if isinstance(holder[key], torch.Tensor):
                holder[key] = draw.choice((torch.zeros(0), torch.full((2, 3), torch.nan)))
            case 3:
                other, its_key = draw.choice(places)
                holder[key] = copy.deepcopy(other[its_key])
            case _:
                holder[key] = draw.choice(VALUES)
    return tree


def _places(tree: Any, depth: int = 0) -> Any:
    """Every place of a value: what holds it, and its key there."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(pairs):
        yield tree, key
        if isinstance(value, dict | list) and depth < 30:
            yield from _places(value, depth + 1)
