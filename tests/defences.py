#!/usr/bin/env python3
"""Takes each defence of tests/defences.toml away and demands that its test fails.

    tests/run.sh defences [FAULT | WORD…]

All of them, or those of these faults, or those whose sentence or test has one of these words in it. It works in a copy
below target/defences and never touches the repository. First the tests must pass on the unchanged program. Then, one
defence after the other: the change is made, the program built, the test run (several at once, they mostly wait), the
change undone. A change that does not compile and a test that never ends are errors of defences.toml.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "target" / "defences"
SOURCE = PLACE / "source"
# Tests that run while the next defence is built.
AT_ONCE = 4
# No test takes this long, red or green.
LONGEST = 400


class Wrong(Exception):
    """What is wrong with an entry, or with the way it was tried."""


def chosen(words):
    entries = tomllib.loads((ROOT / "tests" / "defences.toml").read_text())["defence"]
    numbers = {int(word) for word in words if word.isdigit()}
    words = [word for word in words if not word.isdigit()]
    fits = lambda e: numbers & set(e.get("faults", [])) or any(word in e["what"] + e["test"] for word in words)
    return [entry for entry in entries if fits(entry)] if numbers or words else entries


def copy_repository():
    """Brings the copy up to date; what did not change keeps its time, so that builds are incremental."""
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0")
    names = {name for name in names if name and (ROOT / name).is_file()}
    for path in [path for path in SOURCE.rglob("*") if path.is_file()]:
        name = str(path.relative_to(SOURCE))
        if name not in names and not name.startswith("target/"):
            path.unlink()
    for name in names:
        old, new = ROOT / name, SOURCE / name
        if not new.is_file() or new.read_bytes() != old.read_bytes():
            new.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(old, new)


def changed(entry):
    """The files without this defence, by name."""
    files = {}
    for change in [entry, *entry.get("also", [])]:
        text = files.get(change["file"]) or (ROOT / change["file"]).read_text()
        if text.count(change["old"]) != 1:
            raise Wrong(f"{change['file']} has {text.count(change['old'])} times: {change['old']}")
        files[change["file"]] = text.replace(change["old"], change["new"])
    return files


def build(place):
    """Builds what stands in the copy, and puts the tests and the program aside: the next build replaces them."""
    command = ["cargo", "test", "--locked", "--test", "it", "--no-run", "--message-format", "json"]
    # Without debug information it builds sooner.
    environment = os.environ | {"CARGO_TARGET_DIR": str(PLACE / "build"), "CARGO_PROFILE_DEV_DEBUG": "0"}
    done = subprocess.run(command, cwd=SOURCE, env=environment, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0:
        errors = [m["message"]["rendered"] for m in messages if m.get("message", {}).get("level") == "error"]
        raise Wrong("it does not compile:\n" + "".join(errors or [done.stderr]))
    built = {m["target"]["name"]: m["executable"] for m in messages if m.get("executable")}
    place.mkdir(parents=True)
    for name in ["it", "rekeyd"]:
        shutil.copy(built[name], place / name)


def passes(place, tests, threads="2"):
    """Whether all of these tests pass with the program that was put aside there."""
    environment = os.environ | {"REKEYD_UNDER_TEST": str(place / "rekeyd")}
    command = [str(place / "it"), "--exact", *tests, "--test-threads", threads]
    with open(place / "log", "w") as log:
        child = subprocess.Popen(command, cwd=SOURCE, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                                 stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = child.wait(LONGEST * len(set(tests)))
        except subprocess.TimeoutExpired:
            raise Wrong("the test never ends") from None
        finally:
            end_group(child)
    log = (place / "log").read_text(errors="replace")
    (place / "it").unlink()
    (place / "rekeyd").unlink()
    if f"running {len(set(tests))} test" not in log or status not in (0, 101):
        raise Wrong(f"the tests did not run: status {status}\n{log[-2000:]}")
    return status == 0


def end_group(child):
    """What a test leaves behind when it breaks off."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def verdict(place, entry):
    began = time.monotonic()
    try:
        result = "STILL GREEN" if passes(place, [entry["test"]]) else "red"
    except Wrong as wrong:
        result = f"ERROR: {wrong}"
    print(f"{result}, {time.monotonic() - began:.0f} s: {entry['what']}", file=sys.stderr, flush=True)
    return result


def without(number, entry, pool):
    """Builds without this defence; the verdict follows."""
    try:
        files = changed(entry)
        for name, text in files.items():
            (SOURCE / name).write_text(text)
        try:
            place = PLACE / "runs" / str(number)
            build(place)
        finally:
            for name in files:
                shutil.copy(ROOT / name, SOURCE / name)
    except Wrong as wrong:
        said = f"ERROR: {wrong}"
        print(f"{said}: {entry['what']}", file=sys.stderr, flush=True)
        return lambda: said
    return pool.submit(verdict, place, entry).result


def table(rows):
    wide = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, wide)).rstrip())


def main():
    entries = chosen(sys.argv[1:])
    if not entries:
        sys.exit("no defence fits")
    shutil.rmtree(PLACE / "runs", ignore_errors=True)
    SOURCE.mkdir(parents=True, exist_ok=True)
    copy_repository()
    whole = PLACE / "runs" / "whole"
    build(whole)
    if not passes(whole, sorted({entry["test"] for entry in entries}), threads="4"):
        failed = re.findall(r"^test (\S+) \.\.\. FAILED", (whole / "log").read_text(), re.MULTILINE)
        sys.exit(f"with every defence in place: {', '.join(failed)} failed, see {whole / 'log'}")
    print("with every defence in place all of them pass", file=sys.stderr, flush=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        verdicts = [without(number, entry, pool) for number, entry in enumerate(entries)]
        results = [verdict() for verdict in verdicts]
    numbers = [" ".join(map(str, entry.get("faults", []))) or "-" for entry in entries]
    rows = zip((e["what"] for e in entries), numbers, (e["test"] for e in entries),
               (result.splitlines()[0] for result in results))
    table([("DEFENCE", "FAULT", "TEST", "WITHOUT IT"), *rows])
    sys.exit(any(result != "red" for result in results))


if __name__ == "__main__":
    main()
