#!/usr/bin/env python3
"""Where HF's Unicode differs from PCRE2's and utf8proc's, and checksums of HF's over all code points.

    oracle_unicode.py tables   writes src/tokenizer/unicode_tables.cpp (compares with libpcre2-8 and libutf8proc)
    oracle_unicode.py golden   writes tests/data/tokenizer/unicode.golden.json

HF's regular expressions (Oniguruma, Rust's regex) know Unicode 16, its normaliser (unicode-normalization-alignments)
Unicode 9, its Digits (Rust's library) Unicode 17.
PCRE2 10.42 knows Unicode 14 and utf8proc 2.8 Unicode 15. Made with tokenizers 0.23.3.
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__, 1, 1)

import ctypes
import json
import os
import sys

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
POINTS = [c for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000]
# Without Mn and Mc: U+1171E moved from one to the other, which adding ranges cannot follow.
PROPERTIES = ["L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Me", "N", "Nd", "Nl", "No", "P", "S", "Z"]
FORMS = {"NFC": 2 | 8, "NFD": 2 | 16, "NFKC": 2 | 8 | 4, "NFKD": 2 | 16 | 4}  # UTF8PROC_STABLE, COMPOSE, ...

# Blocks with marks or compositions that came after utf8proc 2.8 (Unicode 15.1 and 16): a later utf8proc will know them.
LATER = [(0x897, 0x897), (0x105C0, 0x105F3), (0x10D69, 0x10D6D), (0x10EFC, 0x10EFC), (0x11380, 0x113E2), (0x1CCD6, 0x1CCF9), (0x16100, 0x16139), (0x16D40, 0x16D79), (0x1E5EE, 0x1E5EF)]


UTF8PROC = ctypes.CDLL("libutf8proc.so.2")
UTF8PROC.utf8proc_category_string.restype = ctypes.c_char_p
UTF8PROC.utf8proc_category_string.argtypes = [ctypes.c_int32]
UTF8PROC.utf8proc_map.restype = ctypes.c_ssize_t
UTF8PROC.utf8proc_map.argtypes = [ctypes.c_char_p, ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_int]
FREE = ctypes.CDLL(None).free
FREE.argtypes = [ctypes.c_void_p]


def ranges(points):
    out = []
    for x in sorted(points):
        if out and out[-1][1] == x - 1:
            out[-1][1] = x
        else:
            out.append([x, x])
    return [tuple(r) for r in out]


def hf_members(pattern):
    splitter = pre_tokenizers.Split(Regex(pattern), "removed")
    return [c for c in POINTS if not splitter.pre_tokenize_str(chr(c))]


def pcre_members(pattern):
    lib = ctypes.CDLL("libpcre2-8.so.0")
    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    lib.pcre2_compile_8.restype = lib.pcre2_match_data_create_8.restype = pointer
    lib.pcre2_compile_8.argtypes = [ctypes.c_char_p, size, ctypes.c_uint32, pointer, pointer, pointer]
    lib.pcre2_match_data_create_8.argtypes = [ctypes.c_uint32, pointer]
    lib.pcre2_match_8.argtypes = [pointer, ctypes.c_char_p, size, size, ctypes.c_uint32, pointer, pointer]
    error, offset = ctypes.c_int(), size()
    code = lib.pcre2_compile_8(pattern.encode(), len(pattern), 0x000A0000, ctypes.byref(error), ctypes.byref(offset), None)
    data = lib.pcre2_match_data_create_8(1, None)
    texts = ((c, chr(c).encode()) for c in POINTS)
    return [c for c, text in texts if lib.pcre2_match_8(code, text, len(text), 0, 0x40000000, data, None) > 0]


def utf8proc(text, form):
    raw, out = text.encode(), ctypes.c_void_p()
    count = UTF8PROC.utf8proc_map(raw, len(raw), ctypes.byref(out), FORMS[form])
    result = ctypes.string_at(out.value, count).decode()
    FREE(out)
    return result


def word_members():
    """\\w of Rust's regex crate, which decides about single_word: the characters that a word token must not touch."""
    tok = Tokenizer(models.BPE())
    tok.add_tokens([AddedToken("word", single_word=True, normalized=False)])
    return [c for c in POINTS if not tok.encode(chr(c) + "word").ids]


def digit_members():
    """char::is_numeric of Rust's library, which decides about the pre-tokenizer Digits."""
    splitter = pre_tokenizers.Digits(individual_digits=True)
    return [c for c in POINTS if len(splitter.pre_tokenize_str(chr(c) + "!")) == 2]


# Alone; among marks of other classes, which shows the combining class; between letters that compose.
CONTEXTS = {"alone": "{}", "marks": "a\u0315{}\u0334", "compose": "a{}\u0323\u0301"}


def tables():
    out = ["// Made by tools/oracle_unicode.py: do not edit.\n", '#include "tokenizer/unicode_tables.h"\n', "namespace rlcpp::tokenizer {", "namespace {\n"]

    def table(name, rows):
        body = ", ".join("{0x%X, 0x%X}" % r for r in rows)
        out.append(f"constexpr CodePointRange {name}[] = {{{body}}};")

    known = []
    for name in PROPERTIES:
        theirs, ours = set(hf_members(r"\p{%s}" % name)), set(pcre_members(r"\p{%s}" % name))
        print(name, len(theirs - ours), "more in HF,", len(ours - theirs), "fewer")
        if theirs - ours:
            table("k" + name, ranges(theirs - ours))
        known.append((name, bool(theirs - ours)))
    categories = [b"Lu", b"Ll", b"Lt", b"Lm", b"Lo", b"Nl", b"Mn", b"Mc", b"Me", b"Nd", b"Pc"]
    letters = {c for c in POINTS if UTF8PROC.utf8proc_category_string(c) in categories} | {0x200C, 0x200D}
    assert not letters - set(word_members())
    table("kWord", ranges(set(word_members()) - letters))
    table("kDigits", ranges(set(digit_members()) - set(hf_members(r"\p{N}"))))
    plain = {f: getattr(normalizers, f)() for f in FORMS}
    differ = {c for c in POINTS for f in FORMS for text in CONTEXTS.values() if utf8proc(text.format(chr(c)), f) != plain[f].normalize_str(text.format(chr(c)))}
    differ |= {0x11930}  # composes with U+11935
    later = {c for first, last in LATER for c in range(first, last + 1)}
    table("kUnknownToNormalizer", ranges(differ | later))
    out += ["\n}  // namespace\n", "std::optional<std::span<const CodePointRange>> missing_in_pcre2(std::string_view property) {"]
    for name, has in known:
        out.append(f'  if (property == "{name}") return std::span<const CodePointRange>({"k" + name if has else ""});')
    out += ["  return std::nullopt;\n}\n", "std::span<const CodePointRange> unknown_to_normalizer() { return kUnknownToNormalizer; }\n", "std::span<const CodePointRange> further_word_characters() { return kWord; }\n", "std::span<const CodePointRange> further_digits() { return kDigits; }\n", "}  // namespace rlcpp::tokenizer\n"]
    with open(os.path.join(ROOT, "src", "tokenizer", "unicode_tables.cpp"), "w", encoding="utf-8") as f:
        f.write("\n".join(out))


def checksum(chunks):
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for chunk in chunks:
        for byte in chunk:
            value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def golden():
    out = {"made_by": "tools/oracle_unicode.py, tokenizers 0.23.3", "members": {}, "normal": {}}
    for pattern in [r"\p{%s}" % p for p in PROPERTIES] + [r"\s", r"\S", r"\d", r"[^\p{L}\p{N}\s]", r"(?i:'s|k)"]:
        members = hf_members(pattern)
        out["members"][pattern] = [len(members), checksum(chr(c).encode() for c in members)]
    for name, members in [("word", word_members()), ("digits", digit_members())]:
        out["members"][name] = [len(members), checksum(chr(c).encode() for c in members)]
    for form in FORMS:
        plain = getattr(normalizers, form)()
        for name, text in CONTEXTS.items():
            out["normal"][f"{form} {name}"] = [text.format("@"), checksum(plain.normalize_str(text.format(chr(c))).encode() for c in POINTS)]
    with open(os.path.join(ROOT, "tests", "data", "tokenizer", "unicode.golden.json"), "w", encoding="utf-8") as f:
        f.write(json.dumps(out, indent=1, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["tables"]:
        tables()
    elif sys.argv[1:] == ["golden"]:
        golden()
    else:
        sys.exit(__doc__)
