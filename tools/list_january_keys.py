#!/usr/bin/env python3
"""Lists every configuration key of prime-rl as of January 2026, from its own pydantic classes.

    a clone of PrimeIntellect-ai/prime-rl on GitHub in /tmp/prime-rl
    git -C /tmp/prime-rl checkout aab07534e
    tools/list_january_keys.py /tmp/prime-rl >tests/data/config/january_keys.json

Needs pydantic and pydantic-settings; what else the files import is not there and not needed. Keys and defaults
are what tests/app/january_keys_test.cpp asks `rlcpp config check` about.
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__, 1, 1)

import importlib
import json
import sys
import types
import typing
from pathlib import Path

from pydantic import BaseModel

COMMANDS = {
    "sft": ("prime_rl.trainer.sft.config", "SFTTrainerConfig"),
    "trainer": ("prime_rl.trainer.rl.config", "RLTrainerConfig"),
    "orchestrator": ("prime_rl.orchestrator.config", "OrchestratorConfig"),
    "rl": ("prime_rl.rl", "RLConfig"),
}


class Anything(types.ModuleType):
    """A module whose every name is a function."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: None


def stand_in(*names):
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:
            sys.modules[name] = Anything(name)


def classes_of(annotation):
    """The configuration classes that an annotation allows, without None and scalars."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found = []
    for part in typing.get_args(annotation):
        found += classes_of(part)
    return found


def scalar_of(annotation):
    """A value of the type, for keys whose default is None."""
    if typing.get_origin(annotation) is typing.Literal:
        return typing.get_args(annotation)[0]
    for kind, value in ((bool, True), (int, 2), (float, 1.0), (str, "text"), (Path, "path")):
        if annotation is kind:
            return value
    origin = typing.get_origin(annotation)
    if origin is dict or annotation is dict:
        return {"name": 1}
    if origin is list:
        return [scalar_of(typing.get_args(annotation)[0])]
    for part in typing.get_args(annotation):
        if part is not type(None) and (value := scalar_of(part)) is not None:
            return value
    return None


def plain(value):
    if isinstance(value, str) and value.startswith("https://"):
        return "https://service.example/path"  # somebody's server is nothing to ask about
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def walk(cls, prefix, with_values, out):
    for name, field in cls.model_fields.items():
        if name == "toml_files":
            continue
        key = prefix + name
        classes = classes_of(field.annotation)
        if not classes:
            default = field.get_default(call_default_factory=True)
            if not field.is_required() and default is not None:
                value = plain(default)
            else:
                value = 1 if name == "max_async_level" else scalar_of(field.annotation)
            entry = {"key": key, "value": value, "none": default is None}
            if with_values:
                entry["with"] = with_values
            out.append(entry)
            continue
        many = typing.get_origin(field.annotation) is list or any(
            typing.get_origin(part) is list for part in typing.get_args(field.annotation)
        )
        if type(None) in typing.get_args(field.annotation):  # a section that may be absent
            out.append({"key": key, "value": None, "none": True})
        for inside in classes:
            tag = inside.model_fields.get("type")
            chosen = dict(with_values)
            place = key + (".0." if many else ".")
            if tag is not None and len(classes) > 1:
                chosen[place + "type"] = tag.default
            walk(inside, place, chosen, out)


def main():
    root = Path(sys.argv[1])
    sys.path.insert(0, str(root / "src"))
    stand_in("tomli", "tomli_w", "loguru")
    for package in ("", ".utils", ".transport", ".trainer", ".trainer.rl", ".trainer.sft", ".orchestrator", ".inference"):
        bare = types.ModuleType("prime_rl" + package)  # without what __init__.py imports
        bare.__path__ = [str(root / "src" / "prime_rl" / package[1:].replace(".", "/"))]
        sys.modules["prime_rl" + package] = bare
    for name in ("logger", "utils", "validation"):
        sys.modules["prime_rl.utils." + name] = Anything("prime_rl.utils." + name)
    commands = {}
    for command, (module, name) in COMMANDS.items():
        keys = []
        walk(getattr(importlib.import_module(module), name), "", {}, keys)
        unique = {}
        for entry in keys:
            unique.setdefault((entry["key"], json.dumps(entry.get("with"))), entry)
        commands[command] = list(unique.values())
    source = (
        "PrimeIntellect-ai/prime-rl at aab07534e (2026-01-12): src/prime_rl/{rl,trainer/config,trainer/rl/config,"
        "trainer/sft/config,orchestrator/config,inference/config,transport/config,utils/config}.py"
    )
    lines = ['{"source": %s,' % json.dumps(source)]
    lines.append(' "value": "the default, or a value of the type where the default is None (none: true)",')
    for i, (command, keys) in enumerate(commands.items()):
        lines.append(' "%s": [' % command)
        lines += ["  %s%s" % (json.dumps(k), "," if k is not keys[-1] else "") for k in keys]
        lines.append(" ]" + ("," if i + 1 < len(commands) else "}"))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
