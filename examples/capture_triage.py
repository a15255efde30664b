"""A thin service: captures that are put into a folder are read, and findings and reports come out.

    python examples/capture_triage.py --in captures/ --out reports/ [--config govsec.yaml] [--once] [--lang en]

For each capture there is a record (JSON) and a page (HTML) in the output folder, named by the capture and its digest:
the same content is read once, however often it comes. One line of JSON on standard output for each finding, ready for a
log shipper, with title and sentence in the language that was asked for. A capture that cannot be read gets a record
with the reason, and the service goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from govsec.assemble.captureoutputs import Picture, capture_record
from govsec.assemble.monitor import replay
from govsec.clock import SystemClock
from govsec.config import MonitorConfig, load_config
from govsec.errors import GovsecError
from govsec.privatefile import make_private_directory, write_private
from govsec.report.capture import render_capture
from govsec.report.catalog import Catalogue
from govsec.report.findingwords import finding_said
from govsec.report.monitor import finding_title

LOOK_S = 5.0
NAME_SIZE_MAX = 100
SUFFIXES = (".pcap", ".pcapng", ".cap")
Lang = Literal["zh", "en"]


def captures(folder: Path) -> dict[Path, tuple[int, int]]:
    """The captures in the folder, with size and time of change: two equal looks say that nobody writes any more."""
    found = {}
    for path in sorted(folder.iterdir()):
        with suppress(OSError):  # it went away between two looks at it
            if path.suffix.lower() in SUFFIXES and path.is_file() and not path.is_symlink():
                status = path.stat()
                found[path] = (status.st_size, status.st_mtime_ns)
    return found


def triage(
    path: Path, out: Path, config: MonitorConfig, lang: Lang, organization: str = ""
) -> Iterator[dict[str, object]]:
    """Read one capture; gives what to tell, and leaves record and page in ``out``. Nothing when that is there."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # A name may be no text, or too long with what is added to it.
    name = path.name.encode("utf-8", "backslashreplace").decode()[:NAME_SIZE_MAX]
    record_path = out / f"{name}.{digest[:12]}.json"
    if record_path.exists():
        return
    picture = Picture()
    try:
        done = replay(path, config, [picture])
    except GovsecError as error:
        record: dict[str, object] = {"capture": name, "sha256": digest, "error": str(error)}
        write_private(record_path, json.dumps(record, ensure_ascii=False).encode())
        yield record
        return
    words = Catalogue("monitor", lang)
    for finding in done.findings:
        told = {"title": finding_title(finding, words), "said": finding_said(finding, words)}
        yield {"capture": name, **told, **finding.canonical()}
    if done.damage:
        yield {"capture": name, "sha256": digest, "error": done.damage}
    facts = capture_record(path, done, picture, organization=organization)
    facts["file"]["name"] = name
    write_private(record_path.with_suffix(".html"), render_capture(facts, lang).encode())
    # Last: its name says that this capture is done.
    write_private(record_path, json.dumps(facts, ensure_ascii=False).encode())
    yield {"capture": name, "sha256": digest, "packets": done.summary["packets"], "findings": len(done.findings)}


def main() -> int:
    """Run for ever, or once over what is there; then 1 when something was found or could not be read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in", type=Path, required=True, dest="folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", type=Path, help="the site's configuration; its section monitor is used")
    parser.add_argument("--lang", choices=("zh", "en"), default="zh")
    parser.add_argument("--once", action="store_true", help="what is there now, then leave")
    arguments = parser.parse_args()
    site = load_config(arguments.config) if arguments.config else None
    config, organization = (site.monitor, site.organization) if site else (MonitorConfig(), "")
    make_private_directory(arguments.out)
    clock, is_quiet = SystemClock(), True
    before: dict[Path, tuple[int, int]] = {}
    done: dict[Path, tuple[int, int]] = {}
    while True:
        now = captures(arguments.folder)
        for path, state in now.items():
            if done.get(path) == state or (not arguments.once and before.get(path) != state):
                continue  # read before, or somebody may still be writing it
            try:
                for line in triage(path, arguments.out, config, arguments.lang, organization):
                    is_quiet = is_quiet and not (line.get("error") or line.get("findings"))
                    print(json.dumps(line), flush=True)
                done[path] = state
            except (GovsecError, OSError) as error:  # tried again at the next look; the others go on
                is_quiet = False
                print(json.dumps({"capture": repr(path.name), "error": str(error)}), flush=True)
        if arguments.once:
            return 0 if is_quiet else 1
        before = now
        clock.sleep(LOOK_S)


if __name__ == "__main__":
    sys.exit(main())
