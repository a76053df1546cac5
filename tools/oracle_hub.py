#!/usr/bin/env python3
"""The Hugging Face cache shared with huggingface_hub, both ways, against a small hub on this machine.

    oracle_hub.py RLCPP DIR     DIR: a model directory with config.json, tokenizer.json and model.safetensors

What rlcpp downloaded is found by huggingface_hub without asking anyone, byte for byte; what huggingface_hub downloaded is
taken by rlcpp without a request. Prints `N checks passed` or what failed. Needs huggingface_hub.
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__, 2, 2)

import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAMES = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]


def serve(folder):
    files = {name: (folder / name).read_bytes() for name in NAMES if (folder / name).exists()}

    def entry(name, data):
        large = name.endswith(".safetensors")
        out = {"rfilename": name, "size": len(data), "blobId": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()}
        if large:
            out["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 100}
        return out

    entries = {name: entry(name, data) for name, data in files.items()}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        requests = []

        def log_message(self, *_):
            pass

        def answer(self, status, data, headers=()):
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def do_GET(self):
            Handler.requests.append(self.path)
            path = self.path.split("?")[0]
            if path.startswith("/api/models/org/tiny/tree/"):
                tree = [{"type": "file", "path": name, "size": e["size"], "oid": e["blobId"]}
                        | ({"lfs": {"oid": e["lfs"]["sha256"], "size": e["size"], "pointerSize": 100}} if "lfs" in e else {})
                        for name, e in entries.items()]
                return self.answer(200, json.dumps(tree).encode(), [("Content-Type", "application/json")])
            if path.startswith("/api/models/org/tiny"):
                info = {"id": "org/tiny", "modelId": "org/tiny", "sha": COMMIT, "private": False, "tags": [], "downloads": 0,
                        "likes": 0, "siblings": list(entries.values())}
                return self.answer(200, json.dumps(info).encode(), [("Content-Type", "application/json")])
            for revision in (COMMIT, "main"):
                name = path.removeprefix(f"/org/tiny/resolve/{revision}/")
                if name in files:
                    lfs = entries[name].get("lfs")
                    etag = lfs["sha256"] if lfs else entries[name]["blobId"]
                    headers = [("ETag", f'"{etag}"'), ("X-Repo-Commit", COMMIT), ("Accept-Ranges", "bytes")]
                    begin = int(self.headers.get("Range", "bytes=0-")[6:].split("-")[0])
                    if begin:
                        headers.append(("Content-Range", f"bytes {begin}-{len(files[name]) - 1}/{len(files[name])}"))
                    return self.answer(206 if begin else 200, files[name][begin:], headers)
            return self.answer(404, b"{}", [("X-Error-Code", "EntryNotFound"), ("X-Repo-Commit", COMMIT)])

        do_HEAD = do_GET

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, files, Handler


def chat(rlcpp, environment):
    command = [rlcpp, "chat", "--model.name", "org/tiny", "--prompt", "a", "--max-tokens", "1", "--json"]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def python(code, environment):
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


def main():
    rlcpp, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    server, files, handler = serve(folder)
    passed, failed = 0, []

    def check(what, good, detail=""):
        nonlocal passed
        if good:
            passed += 1
        else:
            failed.append(f"{what}\n{detail}")

    with tempfile.TemporaryDirectory() as scratch:
        def environment(home, offline):
            return os.environ | {"HF_HOME": f"{scratch}/{home}", "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
                                 "HF_HUB_OFFLINE": "1" if offline else "0", "no_proxy": "127.0.0.1"}

        run = chat(rlcpp, environment("ours", False))
        check("rlcpp downloads", run.returncode == 0, run.stderr)
        look = python("from huggingface_hub import snapshot_download; print(snapshot_download('org/tiny'))", environment("ours", True))
        check("huggingface_hub finds what rlcpp downloaded", look.returncode == 0, look.stderr)
        snapshot = pathlib.Path(look.stdout.strip())
        for name, data in files.items():
            check(f"{name} is the same", (snapshot / name).is_symlink() and (snapshot / name).read_bytes() == data)
        scan = python("from huggingface_hub import scan_cache_dir as s; i = s(); print(len(i.repos), len(i.warnings), i.size_on_disk)",
                      environment("ours", True))
        check("scan_cache_dir sees one repository without warnings",
              scan.stdout.split() == ["1", "0", str(sum(map(len, files.values())))], scan.stdout + scan.stderr)

        load = python("from huggingface_hub import snapshot_download; print(snapshot_download('org/tiny'))", environment("theirs", False))
        check("huggingface_hub downloads", load.returncode == 0, load.stderr)
        before = len(handler.requests)
        run = chat(rlcpp, environment("theirs", False))
        check("rlcpp takes what huggingface_hub downloaded", run.returncode == 0, run.stderr)
        check("and asks nobody", len(handler.requests) == before, str(handler.requests[before:]))
    for text in failed:
        print("FAILED:", text)
    print(f"{passed} checks passed, {len(failed)} failed")
    return 4 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
