#!/usr/bin/env python3
"""Golden token ids by HF's tokenizers, for tests/tokenizer.

    oracle_tokenizer.py golden          writes tests/data/tokenizer/*.json (needs xz)
    oracle_tokenizer.py sweep RLCPP N   compares N fresh strings a tokenizer with the binary RLCPP
    oracle_tokenizer.py sweep RLCPP N DIR   the same for the tokenizer of a model directory, e.g. a converted one
    oracle_tokenizer.py fresh NAME N DIR    writes DIR/tokenizer.json and DIR/golden.json with N fresh strings, for a test to
                                            compare; NAME: qwen3, llama3-style, llama3-large or a directory
    oracle_tokenizer.py trained RLCPP   trains with RLCPP and with HF's BpeTrainer and compares; loads with AutoTokenizer

Made with tokenizers 0.23.3 and transformers 5.23.0 (Python 3.11). Strings are bytes; HF sees bytes.decode("utf-8",
"replace"), as Python programs read files.
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__, 1, 4)

import json
import lzma
import os
import random
import subprocess
import sys
import tempfile

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DATA = os.path.join(ROOT, "tests", "data", "tokenizer")

# Llama 3's pattern (Meta, 2024): digits in threes.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

SAMPLES = """The quick brown fox jumps over the lazy dog. Don't they're we'll I'd it's YOU'VE SHE'S
Ein Fuß, zwei Füße; naïve façade, œuvre, Ærøskøbing, Łódź, İstanbul, ſtraße, Kelvin K
Съешь ещё этих мягких французских булок, да выпей чаю. Україна їжак ґанок
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. ΌΔΥΣΣΕΎΣ
敏捷的棕色狐狸跳过懒狗。日本語のテキスト、カタカナとひらがな。한국어 문장입니다. 漢字仮名交じり文
نص حكيم له سر قاطع وذو شأن عظيم מכתב בעברית עם ניקוד שָׁלוֹם
हिन्दी में एक वाक्य। தமிழ் எழுத்து ภาษาไทยไม่มีเว้นวรรค ខ្មែរ ལྷ་ས་ မြန်မာ አማርኛ ᏣᎳᎩ ᠮᠣᠩᠭᠣᠯ
👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 🇩🇪🇫🇷 ❤️‍🔥 1️⃣ 🧑🏿‍🚀 😀😃😄 ☺️ ✈︎ 𓀀 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟘𝟙𝟚 ①②③ Ⅻ ½ ²³ ٣٤٥ ४५६ 〇一二
def f(x):\n\treturn {k: v**2 for k, v in x.items() if v != 0}  # comment\n
#include <vector>\nint main() { std::cout << "hi\\n"; return 0x1F; }\r\n
SELECT * FROM t WHERE a >= 10 AND b LIKE '%x%';   <html><body class="a">&amp;</body></html>
https://example.org/a/b?c=d&e=f#g  user@host:~$ ls -la | grep "foo" > /dev/null 2>&1
3.14159 1,234,567.89 2024-01-31T12:34:56Z +1 (555) 010-9999 v1.2.3-rc.4 1e-10 0b1010 12345678901234567890
é é ñ ñ Å Å Å ﬁ ﬂ Ω Ω 각 각 q̣̇ q̣̇ ệ ệ ＡＢＣ ｱｲｳ \u0344 \u0958 \u2126 \ufb1d""".split("\n")
PIECES = [line for line in SAMPLES if line]
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\n\n\n", "\u00a0", "\u2003", "\u3000", "\u200b", "\u180e", "\u0085", "\x1c", "\u2028", "\v", "\f"]
CONTROLS = [chr(i) for i in range(32)] + ["\x7f", "\u0080", "\u009f", "\u200d", "\u200c", "\ufeff", "\ufffd", "\uffff", "\U0010ffff", "\ue000"]
MARKS = ["\u0301", "\u0308", "\u0327", "\u0345", "\u093c", "\u1161", "\u11a8", "\u20e3", "\ufe0f", "\U0001d165", "\u0334", "\u05b0"]
CONTRACTIONS = ["'s", "'S", "'re", "'RE", "'ve", "'ll", "'LL", "'m", "'d", "'t", "'ſ", "'x", "’s", "''s"]
BAD = [b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\x80", b"\xe0\x80\x80", b"\xf8\x88"]


def random_char(rng):
    pick = rng.random()
    if pick < 0.4:
        return chr(rng.randrange(32, 127))
    if pick < 0.6:
        return chr(rng.randrange(0xA0, 0x800))
    if pick < 0.85:
        c = rng.randrange(0x800, 0xFFFE)
        return chr(c) if not 0xD800 <= c < 0xE000 else "x"
    return chr(rng.randrange(0x10000, 0x20000)) if pick < 0.97 else chr(rng.randrange(0x20000, 0x110000))


def random_string(rng, specials):
    """Bytes of one test string, most of them short."""
    out = b""
    for _ in range(rng.choice([1, 1, 2, 2, 3, 4, 6, 9])):
        kind = rng.randrange(13)
        if kind <= 2:
            line = rng.choice(PIECES)
            begin = rng.randrange(len(line))
            out += line[begin : begin + rng.randrange(1, 30)].encode()
        elif kind == 3:
            out += (rng.choice(SPACES) * rng.choice([1, 1, 2, 3, 7, 20])).encode()
        elif kind == 4:
            out += "".join(rng.choice(SPACES) for _ in range(rng.randrange(1, 6))).encode()
        elif kind == 5:
            out += rng.choice(CONTROLS).encode()
        elif kind == 6:
            out += (rng.choice("aeiouAOUnqkΑαиइᄀ가") + "".join(rng.choice(MARKS) for _ in range(rng.randrange(1, 4)))).encode()
        elif kind == 7:
            out += str(rng.randrange(10 ** rng.randrange(1, 15))).encode()
        elif kind == 8:
            out += (rng.choice(["", "I", "you", "we", " it"]) + rng.choice(CONTRACTIONS)).encode()
        elif kind == 9:
            out += rng.choice(specials).encode()
        elif kind == 10:
            out += "".join(random_char(rng) for _ in range(rng.randrange(1, 8))).encode()
        elif kind == 11:
            out += "".join(rng.choice(".,;:!?-_()[]{}<>/\\|@#$%^&*+=~`\"'") for _ in range(rng.randrange(1, 9))).encode()
        elif rng.random() < 0.3:
            out += rng.choice(BAD)
        else:
            out += rng.choice([" ", "a", "the ", "The", "ing", "\n"]).encode() * rng.randrange(1, 4)
    return out


def qwen3():
    path = os.path.join(DATA, "qwen3", "tokenizer.json.xz")
    return Tokenizer.from_str(lzma.open(path).read().decode())


CORPUS = [line for line in PIECES for _ in range(3)] + [
    "the cat sat on the mat and the dog sat on the log",
    "she sells sea shells by the sea shore; the shells she sells are surely seashells",
    "how much wood would a woodchuck chuck if a woodchuck could chuck wood",
    "1 12 123 1234 12345 2024 1999 100 1000 10000 the then there their these those",
] * 5


def llama3_style():
    """Merges ignored for whole words, BOS by template, added tokens with every flag; a BPE learned from a few lines."""
    tok = Tokenizer(models.BPE(ignore_merges=True))
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(LLAMA3), "isolated", False), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(vocab_size=900, min_frequency=2, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False),
    )
    tok.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", AddedToken("<mask>", lstrip=True, special=True)])
    tok.add_tokens(
        [
            AddedToken("<r>", rstrip=True, normalized=False),
            AddedToken("<both>", lstrip=True, rstrip=True, normalized=False),
            AddedToken("wort", single_word=True, normalized=False),
            AddedToken("<|eot", normalized=False),
            AddedToken("café", normalized=True),
            AddedToken("  ", normalized=False),
            AddedToken("ÿ\u0301", normalized=False),
        ]
    )
    bos = tok.token_to_id("<|begin_of_text|>")
    tok.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|> $B:1", special_tokens=[("<|begin_of_text|>", bos)]),
        ]
    )
    return tok


def gpt2_style():
    """GPT-2's own pre-tokenizer with a prefix space, NFC, an unknown token for the bytes it never saw, old merges."""
    tok = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tok.normalizer = normalizers.Sequence([normalizers.NFC()])
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)])
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(
        [line for line in CORPUS if line.isascii()],
        trainers.BpeTrainer(vocab_size=400, min_frequency=2, special_tokens=["<unk>", "<|endoftext|>"], show_progress=False),
    )
    tok.add_tokens([AddedToken("e\u0301\u0327", normalized=True), AddedToken("word", normalized=True, single_word=True)])
    return tok


def splitting_style(rng):
    """Every behaviour of Split in one chain, inverted too, and NFKC."""
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFKC()
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[\r\n]"), "isolated", False),
            pre_tokenizers.Split(Regex(r"\s?\p{L}+"), "contiguous", True),
            pre_tokenizers.Split("|", "removed", False),
            pre_tokenizers.Split(Regex(r"[!-/:-~]"), "merged_with_next", False),
            pre_tokenizers.Split(Regex(r"\p{Nd}"), "merged_with_previous", False),
            pre_tokenizers.Digits(individual_digits=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(vocab_size=600, min_frequency=2, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False),
    )
    return tok


def small_json(tok, pairs_as_text):
    spec = json.loads(tok.to_str())
    if pairs_as_text:
        spec["model"]["merges"] = [" ".join(pair) for pair in spec["model"]["merges"]]
    return json.dumps(spec, ensure_ascii=False, separators=(",", ":"))


def tokenizers_of_tests():
    """name -> (tokenizer, tokenizer.json or None, strings worth meeting)"""
    llama, gpt2, split = llama3_style(), gpt2_style(), splitting_style(random.Random(1))
    return {
        "qwen3": (qwen3(), None, ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>", "<tool_call>", "<|im_start|", "<|im_end|>\n", "<|im_start|>user\n"]),
        "llama3-style": (llama, small_json(llama, False), ["<|begin_of_text|>", "<|eot_id|>", "<|eot", " <mask> ", "  <r>  ", " <both> \n", "wort", " wort ", "_wort", "antwort", "wort-", "é wort", "café", "  ", "ÿ\u0301", "<r>  wort"]),
        "gpt2-style": (gpt2, small_json(gpt2, True), ["<unk>", "<|endoftext|>", "\u0229\u0301", "e\u0327\u0301", "e\u0301\u0327", "word", " word", "sword", "word.", "é"]),
        "split-style": (split, small_json(split, True), ["a|b||c", "!?x", "12ab3", "|", "ﬁ①²", "\r\n"]),
    }


def golden_row(tok, raw):
    """[hex of the bytes, ids, and what is not as expected from those]"""
    seen = raw.decode("utf-8", "replace")
    tok.encode_special_tokens = False
    ids = tok.encode(seen, add_special_tokens=False).ids
    tok.encode_special_tokens = True
    plain = tok.encode(seen, add_special_tokens=False).ids
    tok.encode_special_tokens = False
    decoded = tok.decode(ids, skip_special_tokens=False)
    skipped = tok.decode(ids, skip_special_tokens=True)
    extra = {}
    if plain != ids:
        extra["plain"] = plain
    if decoded != seen:
        extra["decoded"] = decoded
    if skipped != decoded:
        extra["skipped"] = skipped
    return [raw.hex(), ids, extra] if extra else [raw.hex(), ids]


def write_golden(tok, rng, rows, path):
    # Decoding of ids that no text gives: broken characters, ids without a token.
    size = tok.get_vocab_size()
    decodings = []
    for _ in range(60):
        ids = [rng.randrange(size + 3) for _ in range(rng.randrange(1, 7))]
        decodings.append([ids, tok.decode(ids, skip_special_tokens=False)])
    framed = tok.encode("Hello there", add_special_tokens=True).ids
    with open(path, "w", encoding="utf-8") as f:
        body = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
        f.write('{"made_by":"tools/oracle_tokenizer.py, tokenizers %s",\n"framed":%s,\n' % (tokenizers.__version__, json.dumps(framed)))
        f.write('"decodings":%s,\n"strings":[\n%s\n]}\n' % (json.dumps(decodings, ensure_ascii=False, separators=(",", ":")), body))
    print(os.path.basename(path), len(rows), "strings", os.path.getsize(path), "bytes")


def golden():
    for name, (tok, text, specials) in tokenizers_of_tests().items():
        if text is not None:
            with open(os.path.join(DATA, name + ".tokenizer.json"), "w", encoding="utf-8") as f:
                f.write(text + "\n")
            tok = Tokenizer.from_str(text)
        rng = random.Random("golden " + name)
        rows = [golden_row(tok, random_string(rng, specials)) for _ in range(1100 if name == "qwen3" else 400)]
        write_golden(tok, rng, rows, os.path.join(DATA, name + ".golden.json"))


def compare(binary, count, name, folder, specials):
    """One process encodes all strings; returns how many differ from HF's ids."""
    rng = random.Random()
    tok = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    strings = [random_string(rng, specials).decode("utf-8", "replace") for _ in range(count)]
    lines = "".join(json.dumps(s) + "\n" for s in strings)
    command = [binary, "tokenize", "encode", folder, "--lines"]
    out = subprocess.run(command, check=True, capture_output=True, text=True, input=lines).stdout.split("\n")[:-1]
    bad = 0
    for string, line in zip(strings, out, strict=True):
        want = tok.encode(string, add_special_tokens=False).ids
        if want != [int(x) for x in line.split()]:
            bad += 1
            if bad <= 5:
                print("DIFFERS", name, repr(string), want, line)
    print(name, count, "strings,", bad, "differ")
    return bad


def sweep(binary, count, folder=None):
    if folder is not None:
        with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as f:
            specials = [token["content"] for token in json.load(f)["added_tokens"]]
        return compare(binary, count, folder, folder, specials)
    bad = 0
    for name, (_, text, specials) in tokenizers_of_tests().items():
        with tempfile.TemporaryDirectory() as scratch:
            with open(os.path.join(scratch, "tokenizer.json"), "w", encoding="utf-8") as f:
                f.write(text if text is not None else lzma.open(os.path.join(DATA, "qwen3", "tokenizer.json.xz")).read().decode())
            bad += compare(binary, count, name, scratch, specials)
    return bad


def llama3_large(spec):
    """Llama 3's pattern and its rule for whole words over Qwen3's vocabulary: Meta's own file is not free to pass on."""
    spec = json.loads(spec)
    spec["normalizer"] = None
    spec["model"]["ignore_merges"] = True
    spec["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": LLAMA3}
    return json.dumps(spec, ensure_ascii=False)


def long_stretch(rng):
    """What random_string seldom makes: long runs of white space, words beyond any cache and any window of merging, one character many times."""
    kind = rng.randrange(5)
    count = rng.choice([30, 100, 300, 1000, 3000, 8000])
    if kind == 0:
        return (rng.choice(SPACES) * count).encode()
    if kind == 1:
        return "".join(rng.choice(SPACES[:6]) for _ in range(count)).encode()
    if kind == 2:
        return "".join(rng.choice(rng.choice(PIECES).split() or ["x"]) for _ in range(count // 8 + 1)).encode()
    if kind == 3:
        letters = "abcdefghijklmnopqrstuvwxyz"[: rng.choice([1, 2, 3, 26])]
        return "".join(rng.choice(letters) for _ in range(count)).encode()
    return random_char(rng).encode() * count


def fresh(name, count, out):
    """Strings that nobody chose: a new seed each time."""
    if os.path.isdir(name):
        with open(os.path.join(name, "tokenizer.json"), encoding="utf-8") as f:
            text = f.read()
    elif name in ("qwen3", "llama3-large"):
        text = lzma.open(os.path.join(DATA, "qwen3", "tokenizer.json.xz")).read().decode()
        text = llama3_large(text) if name == "llama3-large" else text
    else:
        with open(os.path.join(DATA, name + ".tokenizer.json"), encoding="utf-8") as f:
            text = f.read()
    with open(os.path.join(out, "tokenizer.json"), "w", encoding="utf-8") as f:
        f.write(text)
    specials = [token["content"] for token in json.loads(text)["added_tokens"]]
    specials += [f" {token} " for token in specials[:8]] + ["<|im_start|", " wort ", "antwort", "e\u0327\u0301"]
    tok = Tokenizer.from_str(text)
    seed = random.SystemRandom().randrange(2**32)
    rng = random.Random(seed)
    print(name, "seed", seed)
    rows = []
    while len(rows) < count:
        raw = random_string(rng, specials)
        if rng.random() < 0.02:
            cut = rng.randrange(len(raw) + 1)
            raw = raw[:cut] + long_stretch(rng) + raw[cut:]
        rows.append(golden_row(tok, raw))
    write_golden(tok, rng, rows, os.path.join(out, "golden.json"))


def golden_training():
    """HF's trainer on a small text, in the layout that `rlcpp tokenize train` writes."""
    rng = random.Random("train")
    words = sorted({w for line in CORPUS for w in line.split()})
    lines = [" ".join(rng.choice(words) for _ in range(rng.randrange(3, 12))) for _ in range(120)]
    with open(os.path.join(DATA, "train.txt"), "w", encoding="utf-8") as f:
        f.write("".join(line + "\n" for line in lines))
    added, size = ["<tag>", "</tag>"], 700
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = qwen3().pre_tokenizer
    trainer = trainers.BpeTrainer(vocab_size=size - 3 - len(added), min_frequency=2, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tok.train_from_iterator([line + "\n" for line in lines], trainer)
    tok.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tok.add_tokens([AddedToken(t, normalized=False) for t in added])
    strings = ["Hello there <tag>x</tag>", lines[0], lines[1].upper(), "日本語 été \n\n 2024", "<|im_start|>user\n"]
    out = {
        "made_by": "tools/oracle_tokenizer.py, tokenizers 0.23.3",
        "vocab_size": size,
        "added_tokens": added,
        "merges": json.loads(tok.to_str())["model"]["merges"],
        "ids": {t: tok.token_to_id(t) for t in ["!", "a", "ÿ", "Ā", "Ń", "<|endoftext|>", "<|im_start|>", "<|im_end|>", *added]},
        "encoded": [[s, tok.encode(s).ids] for s in strings],
    }
    with open(os.path.join(DATA, "train.golden.json"), "w", encoding="utf-8") as f:
        f.write(json.dumps(out, ensure_ascii=False, separators=(",", ":")) + "\n")
    print("training:", len(out["merges"]), "merges")


def trained(binary):
    """`rlcpp tokenize train` against HF's BpeTrainer on the same words, then AutoTokenizer against the binary."""
    from transformers import AutoTokenizer

    rng = random.Random()
    lines = CORPUS + [" ".join(rng.choice(CORPUS).split()[: rng.randrange(1, 9)]) for _ in range(400)]
    with tempfile.TemporaryDirectory() as folder:
        text, out = os.path.join(folder, "text.txt"), os.path.join(folder, "tokenizer")
        with open(text, "w", encoding="utf-8") as f:
            f.write("".join(line + "\n" for line in lines))
        added = ["<reversed_text>", "</reversed_text>", "ȩ́x"]
        subprocess.run([binary, "-q", "tokenize", "train", "--data", text, "--vocab-size", "1200", "--added-tokens", ",".join(added), "--out", out], check=True)
        with open(os.path.join(out, "tokenizer.json"), encoding="utf-8") as f:
            ours = json.load(f)
        theirs = Tokenizer(models.BPE())
        theirs.normalizer = normalizers.NFC()
        theirs.pre_tokenizer = Tokenizer.from_file(os.path.join(out, "tokenizer.json")).pre_tokenizer
        theirs.train_from_iterator(
            [line + "\n" for line in lines],
            trainers.BpeTrainer(vocab_size=1200 - 3 - len(added), min_frequency=2, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False),
        )
        want = json.loads(theirs.to_str())["model"]
        same = ours["model"]["merges"] == want["merges"] and ours["model"]["vocab"] == want["vocab"]
        print("merges and vocabulary equal HF's trainer:", same, len(want["merges"]), "merges")
        auto = AutoTokenizer.from_pretrained(out)
        specials = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", *added]
        strings = [random_string(rng, specials).decode("utf-8", "replace") for _ in range(3000)]
        lines = "".join(json.dumps(s) + "\n" for s in strings)
        got = subprocess.run([binary, "tokenize", "encode", out, "--lines"], check=True, capture_output=True, text=True, input=lines).stdout.split("\n")[:-1]
        bad = sum(auto.encode(s, add_special_tokens=False) != [int(x) for x in line.split()] for s, line in zip(strings, got, strict=True))
        print("AutoTokenizer:", type(auto).__name__, len(strings), "strings,", bad, "differ")
        print("eos", auto.eos_token, auto.eos_token_id, "pad", auto.pad_token, auto.pad_token_id, "size", len(auto))
        chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "<reversed_text>x"}]
        got = json.loads(subprocess.run([binary, "tokenize", "render", out, "--json", "--add-generation-prompt"], check=True, capture_output=True, text=True, input=json.dumps(chat)).stdout)
        print("chat equal:", got["text"] == auto.apply_chat_template(chat, tokenize=False, add_generation_prompt=True), got["ids"] == auto.apply_chat_template(chat, add_generation_prompt=True, return_dict=False))


if __name__ == "__main__":
    if sys.argv[1:2] == ["golden"]:
        golden()
        golden_training()
    elif sys.argv[1:2] == ["sweep"]:
        sys.exit(1 if sweep(sys.argv[2], int(sys.argv[3]), *sys.argv[4:5]) else 0)
    elif sys.argv[1:2] == ["fresh"]:
        fresh(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    elif sys.argv[1:2] == ["trained"]:
        trained(sys.argv[2])
    else:
        sys.exit(__doc__)
