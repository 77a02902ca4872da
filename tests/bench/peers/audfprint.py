"""audfprint (Dan Ellis, Python, MIT), unmodified, in its own virtual environment.

    git clone https://github.com/dpwe/audfprint $AIRTRACE_PEERS/audfprint
    python3 -m venv $AIRTRACE_PEERS/venv
    $AIRTRACE_PEERS/venv/bin/pip install 'numpy<2' scipy docopt joblib psutil

Its code from 2019 uses names that numpy 2 removed. Registering uses its command line. Queries use
audfprint_driver.py, which calls its functions, because the command line rounds positions to 0.1 s and starts again for
each query.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ingest.sources import ffmpeg
from tests.bench.peers.system import MAX_ANSWERS, Answer, checkout

DRIVER = Path(__file__).with_name("audfprint_driver.py")


class Audfprint:
    name = "audfprint"
    # Its author's settings for MIREX's noisy 10 s queries (config.txt), except that times may exceed 380 s.
    table = ("--density", "70", "--fanout", "8", "--bucketsize", "500", "--maxtimebits", "16")
    match = ("--density", "70", "--fanout", "8", "--search-depth", "2000")
    settings = (
        "density 70, fanout 8, bucketsize 500, search depth 2000 (its author's for MIREX's noisy queries), 4 "
        "shifts per query, 16 time bits; any count of matching hashes is an answer"
    )

    def __init__(self) -> None:
        self._folder = checkout("audfprint")
        self._python = checkout("venv") / "bin" / "python"

    def missing(self) -> str | None:
        needed = (self._folder / "audfprint.py", self._python)
        if absent := [path for path in needed if not path.exists()]:
            return f"{absent[0]} does not exist: see {__name__.replace('.', '/')}.py, and set AIRTRACE_PEERS"
        return None

    def index(self, references: Sequence[Path], folder: Path) -> None:
        listed = folder / "references.txt"
        listed.write_text("".join(f"{path}\n" for path in references))
        table = ("--dbase", folder / "table.pklz", *self.table, "--continue-on-error", "--list", listed)
        self._run([self._folder / "audfprint.py", "new", *table])

    def answers(self, folder: Path, queries: Sequence[Path]) -> list[list[Answer]]:
        names = {name: i for i, name in enumerate((folder / "references.txt").read_text().splitlines())}
        with tempfile.TemporaryDirectory(prefix="airtrace-bench-") as work:
            asked, answers = Path(work) / "queries.txt", Path(work) / "answers.jsonl"
            asked.write_text("".join(f"{path}\n" for path in queries))
            self._run([DRIVER, self._folder, folder / "table.pklz", asked, answers, MAX_ANSWERS, *self.match])
            rows = [json.loads(line) for line in answers.read_text().splitlines()]
        return [[Answer(names[name], position_s, count) for name, position_s, count in row] for row in rows]

    def stored_bytes(self, folder: Path) -> int:
        return (folder / "table.pklz").stat().st_size

    def _run(self, arguments: Sequence[object]) -> None:
        with tempfile.TemporaryDirectory(prefix="airtrace-bench-") as programs:
            (Path(programs) / "ffmpeg").symlink_to(ffmpeg.binary())  # audfprint calls it by this name
            environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
            environment |= {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(self._folder), "PYTHONHASHSEED": "0"}
            command = [str(self._python), *map(str, arguments)]
            subprocess.run(command, check=True, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


class AudfprintAsItComes(Audfprint):
    name = "audfprint, as it comes"
    table = ("--maxtimebits", "16")
    match = ()
    settings = "density 20, fanout 3, bucketsize 100, search depth 100; 4 shifts per query, 16 time bits"
