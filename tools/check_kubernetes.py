#!/usr/bin/env python3
"""Checks configs/kubernetes/*.yaml: every document against Kubernetes' own schemas, strictly (unknown fields are
errors), and every --key of an rlcpp command in them against the binary.

    pip install kubernetes-validate
    tools/check_kubernetes.py [--rlcpp build/cpu/bin/rlcpp] [--kubernetes 1.31] [FILE...]

The last line is "N documents, M keys checked"; exit 1 if something is wrong.
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__, most=None)

import argparse
import pathlib
import re
import subprocess
import sys

try:
    import kubernetes_validate
    import yaml
except ImportError as missing:
    sys.exit(f"error: {missing}: pip install kubernetes-validate")


def strings_of(value):
    """All strings in a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings_of(inner)


def unknown_keys(text, rlcpp):
    """How many keys the rlcpp command in a script has, and those that the binary does not know."""
    found = re.search(r"\brlcpp (sft|rl|trainer|orchestrator)\b", text)
    if found is None:
        return 0, []
    command = found.group(1)
    keys = sorted(set(re.findall(r"(?<![\w-])--([a-z][a-z0-9._-]*)", text)))
    unknown = []
    for key in keys:
        answer = subprocess.run([rlcpp, "config", "keys", command, key.replace("-", "_")], capture_output=True)
        if answer.returncode != 0:
            unknown.append(f"rlcpp {command} has no key --{key}")
    return len(keys), unknown


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rlcpp", default=str(root / "build/cpu/bin/rlcpp"))
    parser.add_argument("--kubernetes", default="1.31", help="the oldest version whose schemas must accept them")
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    files = options.files or sorted(str(f) for f in (root / "configs/kubernetes").glob("*.yaml"))
    documents = keys = 0
    wrong = []
    for file in files:
        for document in yaml.safe_load_all(open(file)):
            documents += 1
            try:
                kubernetes_validate.validate(document, options.kubernetes, strict=True)
            except kubernetes_validate.ValidationError as error:
                place = ".".join(str(part) for part in error.path)
                wrong.append(f"{file}: {document.get('kind')}: {place}: {error.message}")
            for text in strings_of(document):
                checked, unknown = unknown_keys(text, options.rlcpp)
                keys += checked
                wrong += [f"{file}: {sentence}" for sentence in unknown]
    if not documents or not keys:
        wrong.append(f"nothing was checked: {documents} documents, {keys} keys")
    for sentence in wrong:
        print(f"error: {sentence}", file=sys.stderr)
    print(f"{documents} documents, {keys} keys checked")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
