#!/usr/bin/env python3
"""Takes one safeguard after another out of a copy of the sources, and demands that tests fail without it.

  mutants.py [--jobs N] [--only TEXT] [--keep DIR] [--out FILE] [--list]

Each mutant is an edit of a few lines (an fsync removed, a checksum not compared, a marker written early); only the test
program that it names is built, and only the tests that it names are run. A mutant that no test notices is a finding.
Leaves with 1 if there is one. --only takes the mutants whose name has TEXT; --keep builds in DIR and leaves it there, so
that the next run builds less; --out writes the table as Markdown."""
import argparse
import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import usage  # noqa: E402

usage.answer(__doc__, most=None)


@dataclasses.dataclass
class Mutant:
    name: str
    file: str
    edits: list  # of (old, new)
    tests: str
    program: str = "test_durability"


DIRECTORY = "src/base/durable_directory.cpp"
FILES = "src/base/durable_files.cpp"
VERIFY = "src/base/durable_verify.cpp"
CRASH = "CrashStates.*"
MUTANTS = [
    # fsyncs
    Mutant("a file of a directory is not synced", DIRECTORY,
           [("    directory->files.sync(file.fd());\n", "")], CRASH),
    Mutant("the manifest is not synced", DIRECTORY,
           [("    files.sync(file.fd());\n    file.close();\n  }\n  // Deepest", "    file.close();\n  }\n  // Deepest")], CRASH),
    Mutant("folders inside a directory are not synced", DIRECTORY,
           [('    files.sync_directory(s.temporary + "/" + *folder);\n', "")], CRASH),
    Mutant("a directory is not synced before its rename", DIRECTORY,
           [('  files.sync_directory(s.temporary);\n  failpoint', "  failpoint")], CRASH),
    Mutant("the parent is not synced after the rename", DIRECTORY,
           [('  failpoint::hit("durable.commit.after_rename");\n  files.sync_directory(parent);\n',
             '  failpoint::hit("durable.commit.after_rename");\n')], CRASH),
    Mutant("a small file is not synced before its rename", FILES,
           [("    files.sync(file.fd());\n    file.close();\n    files.rename(temporary, path);",
             "    file.close();\n    files.rename(temporary, path);")], CRASH),
    Mutant("the folder of a small file is not synced", FILES,
           [("  files.sync_directory(detail::parent_of(path));\n}\n\nvoid make_directories", "}\n\nvoid make_directories")], CRASH),
    Mutant("a tree is removed before its new name is durable", FILES,
           [("  files.sync_directory(detail::parent_of(path));\n  remove_inside(files, trash);", "  remove_inside(files, trash);")],
           CRASH),
    Mutant("another process's part is not synced", "src/base/durable_shared.cpp",
           [("  files_.sync(file_.fd());\n", "")], CRASH),
    Mutant("metrics are not synced by a flush", "src/monitor/append.cpp",
           [("[&](int fd) { files.sync(fd); }", "[](int) {}")], CRASH),
    Mutant("a sync does not reach the system", FILES,
           [('    if (retry_interrupted([&] { return ::fdatasync(fd); }) < 0) throw file_error("sync", path_of(fd), errno);\n',
             "    static_cast<void>(fd);\n")],
           "DurabilityOrder.*"),
    Mutant("a directory's sync does not reach the system", FILES,
           [("retry_interrupted([&] { return ::fsync(fd); })", "0")], "DurabilityOrder.*"),
    # order
    Mutant("a directory is renamed before its manifest is written", DIRECTORY,
           [('  failpoint::hit("durable.commit.before_manifest");\n',
             '  failpoint::hit("durable.commit.before_manifest");\n  files.rename(s.temporary, s.path);\n  s.temporary = s.path;\n'),
            ("  if (is_there(s.path)) {", "  if (false) {"),
            ("  files.rename(s.temporary, s.path);\n  s.committed", "  s.committed")], CRASH),
    Mutant("a small file is written in place", FILES,
           [('  const std::string temporary = path + ".tmp-" + detail::random_suffix();\n',
             "  const std::string temporary = path;\n  if (exists_in_tree(path)) files.remove(path);\n"),
            ("    files.rename(temporary, path);\n", "")], CRASH),
    Mutant("a tree is removed under its own name", FILES,
           [("  files.rename(path, trash);\n", ""), ("  remove_inside(files, trash);\n}", "  remove_inside(files, path);\n}")], CRASH),
    Mutant("`latest` moves before the commit", "src/train/checkpoint.cpp",
           [('[](durable::FileLayer&) { failpoint::hit("checkpoint.before_commit"); }',
             '[root, step = content.progress.step](durable::FileLayer& files) {\n'
             '    failpoint::hit("checkpoint.before_commit");\n'
             '    write_latest(files, root, step);\n  }'),
            ('    write_latest(files, root, step);\n  };\n  return image;',
             '    static_cast<void>(files);\n    static_cast<void>(step);\n  };\n  return image;')], CRASH),
    Mutant("weights are taken without their marker", "src/transport/files_weights.cpp",
           [("if (stable && *step >= first", "if ((stable || true) && *step >= first")], CRASH),
    # checksums
    Mutant("checksums of data are not compared", VERIFY,
           [("crc != entry.chunk_crcs[chunk]", "crc != entry.chunk_crcs[chunk] && false")], "Corruption.*"),
    Mutant("the manifest's own checksum is not compared", "src/base/durable_manifest.cpp",
           [("text.compare(body.size(), seal_bytes, expected) != 0", "expected.empty()")], "Corruption.*"),
    Mutant("sizes are not compared with the manifest", VERIFY,
           [("size != entry.size) {", "size < entry.size) {")], "Corruption.*"),
    Mutant("a download's checksum is not compared", "src/hub/download.cpp",
           [("    if (found == file.etag) {", "    if (found.size() == file.etag.size()) {")], "Corruption.*"),
    Mutant("a header's length is not compared with the file", "src/hub/safetensors_header.cpp",
           [("if (expected > file_bytes) {", "if (false) {"), ("if (expected != file_bytes) {", "if (expected < file_bytes) {")],
           "Corruption.*"),
    Mutant("weights are not those of their marker", "src/transport/files_weights.cpp",
           [("found != out.fingerprint) {", "found != out.fingerprint && false) {")], "WeightFiles.*", "test_transport"),
    Mutant("segments may be missing", "src/base/durable_shared.cpp",
           [('  if (at != size) throw broken("stored by nobody");\n', "")], "SharedFiles.*", "test_base"),
    # refusals of the system
    Mutant("a failed sync is taken for a sync", FILES,
           [(' < 0) throw file_error("sync", path_of(fd), errno);\n  }\n  void close', " < 0) return;\n  }\n  void close")],
           "DurabilityDisk.TheNthCallFails"),
    Mutant("a failed write is taken for a write", FILES,
           [("    const ssize_t written = retry_interrupted([&] { return ::write(fd, bytes.data(), bytes.size()); });\n",
             "    ssize_t written = retry_interrupted([&] { return ::write(fd, bytes.data(), bytes.size()); });\n"
             "    if (written < 0) written = static_cast<ssize_t>(bytes.size());\n")],
           "DurabilityDisk.TheNthCallFails"),
    Mutant("a short write is taken for a whole one", FILES,
           [("    bytes = bytes.subspan(static_cast<std::size_t>(written));\n  }\n}\n\nvoid write_all_at",
             "    bytes = {};\n  }\n}\n\nvoid write_all_at")],
           "DurabilityDisk.TheNthCallFails"),
    Mutant("an interrupted call is not made again", FILES,
           [("  while (result < 0 && errno == EINTR) result = call();\n", "")], "DurabilityDisk.TheNthCallFails"),
    # fences
    Mutant("rollouts of another run are taken", "src/transport/files_rollouts.cpp",
           [("if (batch.run == run_) return batch;", "return batch;")], "RolloutFiles.*", "test_transport"),
    Mutant("a resumed run reads its data from the start", "src/app/run_sft.cpp",
           [("    loader_->restore(cursor_);\n", "")], "DurabilityKill.AtRandomMoments*"),
    Mutant("a resumed run keeps later lines of metrics", "src/monitor/metrics.cpp",
           [("if (mine && row[\"step\"].get<std::int64_t>() >= first_step) continue;", "if (mine && first_step < 0) continue;")], CRASH),
    Mutant("an update does not wait for the background writer", "src/train/trainer.cpp",
           [("    if (m.options.before_update) m.options.before_update();\n", "")], "*Writer*", "test_train"),
    Mutant("an update is made of numbers that are not finite", "src/train/trainer.cpp",
           [("result.skipped = !finite || ", "result.skipped = ")], "DurabilityValues.*"),
]


def edited(path, edits):
    text = path.read_text()
    for old, new in edits:
        if text.count(old) != 1:
            raise SystemExit(f"error: {path}: {text.count(old)} places have\n{old}")
        text = text.replace(old, new)
    return text


def run(words, **more):
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **more)


def copy_sources(tree):
    names = run(["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"]).stdout.split("\0")
    for name in filter(None, names):
        source, to = ROOT / name, tree / name
        if not source.is_file() or (to.is_file() and to.read_bytes() == source.read_bytes()):
            continue
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, to)


def build(tree, programs, jobs):
    result = run(["cmake", "--preset", "cpu"], cwd=tree)
    if result.returncode == 0:
        result = run(["cmake", "--build", "build/cpu", "-j", str(jobs), "--target", *programs], cwd=tree)
    return result


def failing(tree, mutant):
    """The number of failed tests, and the first of them; -1 if the program broke down."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RLCPP_")}
    try:
        result = run([f"build/cpu/tests/{mutant.program}", f"--gtest_filter={mutant.tests}", "--gtest_brief=1"], cwd=tree,
                     env=environment, timeout=600)
    except subprocess.TimeoutExpired:
        return -1, "did not end"
    failed = [line.split()[3].rstrip(",") for line in result.stdout.splitlines() if line.startswith("[  FAILED  ] ") and "." in line]
    ran = [line for line in result.stdout.splitlines() if line.startswith("[==========]") and "ran." in line]
    if not ran or ran[-1].split()[1] == "0":
        return (-1, "ended early") if result.returncode else (0, "no test matches")
    return (len(set(failed)), failed[0] if failed else "") if result.returncode else (0, "")


def main():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="")
    parser.add_argument("--keep")
    parser.add_argument("--out")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    chosen = [m for m in MUTANTS if options.only in m.name]
    if not chosen:
        raise SystemExit(f"error: no mutant has \"{options.only}\" in its name")
    for mutant in chosen:
        edited(ROOT / mutant.file, mutant.edits)
        if options.list:
            print(f"{mutant.file}: {mutant.name}")
    if options.list:
        return 0
    with tempfile.TemporaryDirectory(prefix="rlcpp-mutants-") as folder:
        tree = pathlib.Path(options.keep or folder)
        copy_sources(tree)
        programs = sorted({m.program for m in chosen})
        result = build(tree, programs, options.jobs)
        if result.returncode:
            raise SystemExit(f"error: the sources do not build\n{result.stdout[-3000:]}")
        rows = []
        for tests, program in sorted({(m.tests, m.program) for m in chosen}):
            count, first = failing(tree, Mutant("", "", [], tests, program))
            if count or first:
                raise SystemExit(f"error: without any mutant {program} --gtest_filter={tests} does not pass: {first}")
        for mutant in chosen:
            begin = time.monotonic()
            path = tree / mutant.file
            sound = path.read_text()
            path.write_text(edited(path, mutant.edits))
            try:
                result = build(tree, [mutant.program], options.jobs)
                if result.returncode:
                    print(result.stdout[-3000:], file=sys.stderr)
                count, first = (0, "") if result.returncode else failing(tree, mutant)
            finally:
                path.write_text(sound)
            answer = f"caught by {first}" + (f" and {count - 1} more" if count > 1 else "") if count > 0 else \
                "caught: the program " + first if count < 0 else "**does not build**" if result.returncode else "**missed**"
            rows.append((mutant.name, mutant.file, answer))
            print(f"{answer.replace('*', ''):60} {time.monotonic() - begin:4.0f} s  {mutant.name}", flush=True)
    missed = sum(answer.startswith("**") for _, _, answer in rows)
    print(f"{len(rows) - missed} caught, {missed} missed")
    if options.out:
        lines = ["<!-- written by tools/mutants.py -->", "", "# Mutants", "",
                 f"{len(rows) - missed} caught, {missed} missed.", "", "| without this safeguard | file | |", "|---|---|---|"]
        lines += [f"| {name} | {file} | {answer} |" for name, file, answer in rows]
        pathlib.Path(options.out).write_text("\n".join(lines) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
