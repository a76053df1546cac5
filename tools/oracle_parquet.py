#!/usr/bin/env python3
"""Parquet files by pyarrow and their rows as JSON, for tests/data.

    oracle_parquet.py golden          writes tests/data/parquet: chat-*.parquet, all with the rows of chat.jsonl, and random-*
    oracle_parquet.py fresh N DIR     writes DIR/I.parquet and DIR/I.jsonl for I in [0, N): random schemas, values, codecs,
                                      encodings and sizes of pages, a new seed each time

Made with pyarrow 26.0.1 (Python 3.11). The JSON is what src/data/parquet/rows.h says.
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__, 1, 3)

import datetime
import decimal
import json
import math
import os
import random
import sys

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DATA = os.path.join(ROOT, "tests", "data", "parquet")
CODECS = ["none", "snappy", "gzip", "zstd"]
WORDS = ["a", "", "Grüße", "日本語", "👩‍👩‍👧", "line\nline", '"quoted" \\', "x" * 300, "tool_call", "\u0000\u001f", "prompt", "prompts", "promptly"]


def plain(value, kind):
    """A value of to_pylist() as JSON holds it."""
    if value is None:
        return None
    if pa.types.is_map(kind):
        return {k if isinstance(k, str) else json.dumps(k): plain(v, kind.item_type) for k, v in value}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [plain(v, kind.value_type) for v in value]
    if pa.types.is_struct(kind):
        return {field.name: plain(value[field.name], field.type) for field in kind}
    if pa.types.is_floating(kind):
        return value if math.isfinite(value) else None
    if pa.types.is_decimal(kind):
        return float(value)
    if pa.types.is_date32(kind):
        return (value - datetime.date(1970, 1, 1)).days
    if pa.types.is_fixed_size_binary(kind):
        return value.hex()
    return value


def write(table, path, rows=None, **options):
    pq.write_table(table, path + ".parquet", **options)
    with open((rows or path) + ".jsonl", "w", encoding="utf-8") as f:
        for row in table.to_pylist():
            f.write(json.dumps({field.name: plain(row[field.name], field.type) for field in table.schema}, ensure_ascii=False) + "\n")


def random_type(rng, depth=0):
    leaves = [pa.string(), pa.string(), pa.int64(), pa.int32(), pa.uint32(), pa.uint64(), pa.int8(), pa.float64(), pa.float32(), pa.bool_(), pa.date32(), pa.binary(5), pa.large_string(), pa.decimal128(7, 2), pa.decimal128(15, 6)]
    pick = rng.random()
    if depth < 3 and pick < 0.18:
        return pa.list_(random_field(rng, "element", depth + 1))
    if depth < 3 and pick < 0.34:
        return pa.struct([random_field(rng, f"f{i}", depth + 1) for i in range(rng.randrange(1, 4))])
    if depth < 3 and pick < 0.40:
        return pa.map_(pa.string(), random_type(rng, depth + 1))
    return rng.choice(leaves)


def random_field(rng, name, depth=0):
    return pa.field(name, random_type(rng, depth), nullable=rng.random() < 0.7)


def random_value(rng, field, repeats):
    if field.nullable and rng.random() < 0.2:
        return None
    kind = field.type
    if pa.types.is_map(kind):
        return [(f"k{i}", random_value(rng, pa.field("v", kind.item_type), repeats)) for i in range(rng.randrange(3))]
    if pa.types.is_list(kind):
        return [random_value(rng, kind.value_field, repeats) for _ in range(rng.choice([0, 1, 1, 2, 5]))]
    if pa.types.is_struct(kind):
        return {f.name: random_value(rng, f, repeats) for f in kind}
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return rng.choice(WORDS) if repeats else rng.choice(WORDS) + str(rng.randrange(10**6))
    if pa.types.is_floating(kind):
        value = rng.choice([0.0, -1.5, float("nan"), float("inf"), rng.gauss(0, 1e3), 1e-30])
        return float(pa.scalar(value, kind).as_py())
    if pa.types.is_boolean(kind):
        return rng.random() < 0.5
    if pa.types.is_date32(kind):
        return datetime.date(1970, 1, 1) + datetime.timedelta(days=rng.randrange(-1000, 30000))
    if pa.types.is_decimal(kind):
        return decimal.Decimal(rng.randrange(-(10**kind.precision) + 1, 10**kind.precision)).scaleb(-kind.scale)
    if pa.types.is_fixed_size_binary(kind):
        return rng.randbytes(5)
    bits = kind.bit_width
    low, high = (0, 2**bits) if pa.types.is_unsigned_integer(kind) else (-(2 ** (bits - 1)), 2 ** (bits - 1))
    return rng.randrange(low, high) if rng.random() < 0.2 else rng.randrange(max(low, -50), min(high, 100))


def random_options(rng, schema):
    options = {
        "compression": rng.choice(CODECS),
        "data_page_version": rng.choice(["1.0", "2.0"]),
        "data_page_size": rng.choice([64, 1000, 1 << 20]),
        "write_batch_size": rng.choice([1, 10, 1024]),
        "row_group_size": rng.choice([7, 100, 100000]),
        "use_dictionary": rng.random() < 0.5,
        "dictionary_pagesize_limit": rng.choice([40, 1 << 20]),
        "use_compliant_nested_type": rng.random() < 0.7,
        "store_decimal_as_integer": rng.random() < 0.5,
        "write_page_checksum": rng.random() < 0.3,
    }
    if not options["use_dictionary"] and rng.random() < 0.7:
        encodings = {}

        def visit(kind, path):
            if pa.types.is_map(kind):
                visit(pa.string(), path + ".key_value.key")
                visit(kind.item_type, path + ".key_value.value")
            elif pa.types.is_list(kind):
                visit(kind.value_type, path + ".list." + ("element" if options["use_compliant_nested_type"] else kind.value_field.name))
            elif pa.types.is_struct(kind):
                for field in kind:
                    visit(field.type, f"{path}.{field.name}")
            elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
                encodings[path] = rng.choice(["PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"])
            elif pa.types.is_decimal(kind):
                pass
            elif pa.types.is_fixed_size_binary(kind):
                encodings[path] = rng.choice(["PLAIN", "DELTA_BYTE_ARRAY"])
            elif pa.types.is_floating(kind):
                encodings[path] = rng.choice(["PLAIN", "BYTE_STREAM_SPLIT"])
            elif pa.types.is_integer(kind):
                encodings[path] = rng.choice(["PLAIN", "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"])
            elif pa.types.is_boolean(kind):
                encodings[path] = rng.choice(["PLAIN", "RLE"])

        for field in schema:
            visit(field.type, field.name)
        options["column_encoding"] = encodings
    return options


def random_table(rng, rows):
    schema = pa.schema([random_field(rng, f"c{i}") for i in range(rng.randrange(1, 6))])
    repeats = rng.random() < 0.5
    columns = {field.name: [random_value(rng, field, repeats) for _ in range(rows)] for field in schema}
    return pa.table({name: pa.array(values, schema.field(name).type) for name, values in columns.items()}, schema=schema)


def fresh(count, folder):
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    for i in range(count):
        table = random_table(rng, rng.choice([0, 1, 3, 50, 400]))
        write(table, os.path.join(folder, str(i)), **random_options(rng, table.schema))


def conversations(count):
    """As chat data sets of the hub are: lists of structs, optional tools as JSON text, texts that repeat."""
    rng = random.Random("conversations")
    rows = []
    for i in range(count):
        messages = [{"role": "system", "content": "Be brief.", "tool_calls": None}] if i % 3 == 0 else []
        for _ in range(rng.randrange(1, 4)):
            messages.append({"role": "user", "content": rng.choice(WORDS) + f" {i}", "tool_calls": None})
            calls = [{"function": {"name": "now", "arguments": "{\"zone\": \"UTC\"}"}}] if rng.random() < 0.3 else None
            messages.append({"role": "assistant", "content": rng.choice(WORDS), "tool_calls": calls})
        rows.append({"messages": messages, "tools": json.dumps([{"name": "now"}]) if i % 4 == 0 else None, "index": i, "score": i / 7, "meta": [("source", "made"), ("n", None)]})
    message = pa.struct([("role", pa.string()), ("content", pa.string()), ("tool_calls", pa.list_(pa.struct([("function", pa.struct([("name", pa.string()), ("arguments", pa.string())]))])))])
    schema = pa.schema([("messages", pa.list_(message)), ("tools", pa.string()), ("index", pa.int64()), ("score", pa.float64()), ("meta", pa.map_(pa.string(), pa.string()))])
    return pa.Table.from_pylist(rows, schema=schema)


def golden():
    os.makedirs(DATA, exist_ok=True)
    chat, rows = conversations(40), os.path.join(DATA, "chat")
    for codec in CODECS:
        write(chat, os.path.join(DATA, f"chat-{codec}"), rows, compression=codec, row_group_size=25, data_page_size=400, write_batch_size=5)
    write(chat, os.path.join(DATA, "chat-v2"), rows, compression="snappy", data_page_version="2.0", use_dictionary=False, column_encoding={"index": "DELTA_BINARY_PACKED", "tools": "DELTA_BYTE_ARRAY", "score": "BYTE_STREAM_SPLIT", "messages.list.element.content": "DELTA_LENGTH_BYTE_ARRAY"})
    extremes = pa.table({"n": pa.array([2**31 - 1, -(2**31), 5, -7, 2**31 - 1] * 9, pa.int32()), "m": pa.array([2**63 - 1, -(2**63), 0] * 15, pa.int64())})
    write(extremes, os.path.join(DATA, "wrapping"), use_dictionary=False, column_encoding={"n": "DELTA_BINARY_PACKED", "m": "DELTA_BINARY_PACKED"})
    # No rows, so columns without pages.
    write(chat.slice(0, 0), os.path.join(DATA, "empty"), compression="none")
    rng = random.Random("golden")
    for i in range(6):
        table = random_table(rng, 30)
        write(table, os.path.join(DATA, f"random-{i}"), **random_options(rng, table.schema))
    print(sorted((name, os.path.getsize(os.path.join(DATA, name))) for name in os.listdir(DATA)))


if __name__ == "__main__":
    if sys.argv[1:] == ["golden"]:
        golden()
    elif sys.argv[1:2] == ["fresh"] and len(sys.argv) == 4:
        fresh(int(sys.argv[2]), sys.argv[3])
    else:
        sys.exit(__doc__)
