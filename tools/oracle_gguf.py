#!/usr/bin/env python3
"""Golden blocks for tests/hub: random bytes of every number format of GGUF that rlcpp reads, and what the Python package gguf
(gguf-py of llama.cpp) makes of them.

    oracle_gguf.py make tests/data/hub/gguf_blocks.json   writes the golden file
    oracle_gguf.py check FILE.gguf DIR                    compares the weights of a converted DIR with gguf's, bit for bit

The committed file was made with gguf 0.19.0 and numpy 2.4.
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__, most=None)

import argparse
import json
import pathlib
import struct

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

# Bytes of one block, and where its f16 scales lie: they are made finite, everything else is any byte.
FORMATS = {
    Type.F32: (4, ()),
    Type.F16: (2, (0,)),
    Type.BF16: (2, ()),
    Type.Q8_0: (34, (0,)),
    Type.Q4_0: (18, (0,)),
    Type.Q4_1: (20, (0, 2)),
    Type.Q6_K: (210, (208,)),
}
BLOCKS = {Type.F32: 16, Type.F16: 64, Type.BF16: 16, Type.Q6_K: 3}


def make(path):
    random = np.random.default_rng(20261126)
    cases = []
    for kind, (size, scales) in FORMATS.items():
        blocks = random.integers(0, 256, (BLOCKS.get(kind, 6), size), dtype=np.uint8)
        for place in scales:
            values = random.normal(0, 1, len(blocks)).astype(np.float16)
            values[0] = np.float16(6e-8)  # subnormal
            if len(values) > 1:
                values[1] = np.float16(-0.0)
            blocks[:, place : place + 2] = values.view(np.uint8).reshape(-1, 2)
        if kind in (Type.F32, Type.BF16):  # exponents that are finite
            blocks[:, -1] = (blocks[:, -1] & 0x80) | 0x3E
        values = gguf.quants.dequantize(blocks, kind).astype(np.float32).reshape(-1)
        assert np.isfinite(values).all()
        cases.append({"type": int(kind), "name": kind.name, "bytes": blocks.tobytes().hex(), "values": values.tobytes().hex()})
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(case) for case in cases)
    path.write_text('{"made_with": "gguf %s", "cases": [\n%s\n]}\n' % ("0.19.0", lines))


def read_safetensors(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        raw = np.frombuffer(data[begin:end], dtype=np.uint8)
        if entry["dtype"] == "BF16":
            values = (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            values = raw.view(np.float32)
        yield name, values.reshape(entry["shape"])


# The tensor map of gguf-py, by which llama.cpp's converter names tensors.
def gguf_names(architecture, layers):
    arch = next(a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    return gguf.get_tensor_name_map(arch, layers)


def check(source, directory):
    reader = gguf.GGUFReader(source)
    field = lambda key: reader.fields[key].contents()
    architecture = field("general.architecture")
    heads = field(f"{architecture}.attention.head_count")
    kv_heads = field(f"{architecture}.attention.head_count_kv")
    names = gguf_names(architecture, field(f"{architecture}.block_count"))
    stored = {t.name: t for t in reader.tensors}
    equal = different = 0
    for shard in sorted(directory.glob("*.safetensors")):
        for name, values in read_safetensors(shard):
            tensor = stored[names.get_name(name, try_suffixes=(".weight", ".bias"))]
            wanted = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            if architecture == "llama" and (".q_proj." in name or ".k_proj." in name):
                # LlamaModel.permute of convert_hf_to_gguf.py applied to our rows must give the file's.
                n = heads if ".q_proj." in name else kv_heads
                shape = values.shape
                values = values.reshape(n, 2, shape[0] // n // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)
            same = np.array_equal(values.view(np.uint32).reshape(-1), wanted.view(np.uint32).reshape(-1))
            equal, different = equal + same, different + (not same)
            if not same:
                print("different:", name)
    print(f"{equal} equal, {different} different")
    return 1 if different or not equal else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("make").add_argument("path", type=pathlib.Path)
    checking = commands.add_parser("check")
    checking.add_argument("source")
    checking.add_argument("directory", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.command == "make":
        make(arguments.path)
        return 0
    return check(arguments.source, arguments.directory)


if __name__ == "__main__":
    raise SystemExit(main())
