"""SIGKILL at random moments: what `cluster`, `predict` and `merge --force` and `batch --resume` lose: nothing.

    python benchmarks/kill.py --cluster 50 --batch 50 --predict 20 --merge 20 --importing 20 --seed 1

`--importing` kills `predict` in processes that begin with Python's own start. Half of the kills fall anywhere in the
run, the others once it has begun to write. After each: the old results are whole, or the new ones are (checksums of all
files); nothing that is half written bears the name of a result; the next run clears up what is left. A batch that was
killed is resumed, killed again, and at last must end with the bytes of one that was never stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from cytomoe.cli.main import run
from cytomoe.datasets.simulate import write_plate
from cytomoe.io.lock import alone

TIMES = ("finished", "seconds")
MOST_KILLS_OF_A_BATCH = 4
CLUSTER = ["cluster", "--quiet", "--no-report"]
EVENTS = 200  # of a well: the fit is to be short, what is written is the same


def sums(folder: Path, exact: bool) -> dict[str, str]:
    """Checksum of each file; unless exact, without the times in manifests and in HDF5."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if not exact and path.suffix == ".h5ad":
            continue
        if not exact and path.name == "run.json":
            content = json.dumps(timeless(json.loads(content))).encode()
        found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


def timeless(content: object) -> object:
    """A manifest without its times."""
    if isinstance(content, dict):
        return {key: timeless(value) for key, value in content.items() if key not in TIMES}
    return [timeless(value) for value in content] if isinstance(content, list) else content


class Killer:
    """Runs a command in a process of its own and kills that with all its children.

    The process is a fork of this one, so that the seconds which Python takes to import are not spent at each kill;
    unless it is to begin afresh.
    """

    def __init__(
        self, command: list[str], rng: random.Random, writing: Callable[[], bool], *, afresh: bool = False
    ) -> None:
        self.command, self.rng, self.writing, self.afresh = command, rng, writing, afresh

    def start(self) -> int:
        """Start the command; returns the number of its process, which leads a group of its own."""
        sys.stdout.flush()
        number = os.fork()
        if number == 0:
            os.setpgid(0, 0)
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            if self.afresh:
                os.execv(sys.executable, [sys.executable, "-m", "cytomoe", *self.command])
            os._exit(run(self.command))
        with suppress(PermissionError, ProcessLookupError):  # whoever is first of the two makes the group
            os.setpgid(number, number)
        return number

    def run(self) -> float:
        """Let the command end; returns its seconds."""
        started = time.perf_counter()
        _, status = os.waitpid(self.start(), 0)
        assert status == 0, f"{self.command} ended with {status}"
        return time.perf_counter() - started

    def kill(self, most: float, anywhere: bool) -> bool:
        """Kill within so many seconds of the start, or of the first bytes written; False if it ended before."""
        number = self.start()
        ended = 0
        until = None if not anywhere else time.perf_counter() + self.rng.uniform(0, most)
        while not ended and (until is None or time.perf_counter() < until):
            if until is None and self.writing():
                until = time.perf_counter() + self.rng.uniform(0, most)
            time.sleep(0.001)
            ended, status = os.waitpid(number, os.WNOHANG)
        if not ended:
            os.killpg(number, signal.SIGKILL)
            _, status = os.waitpid(number, 0)
        return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def half_written(parent: Path, out: Path) -> list[str]:
    """Where in a folder a run was: the files that it had begun, of which none is in a visible place."""
    left = [path for path in parent.glob(f".{out.name}.*") if path.is_dir()]
    left += list(out.glob("wells/.*")) if out.exists() else []
    return sorted(file.name for folder in left for file in folder.rglob("*") if file.is_file())


def kill_replacing(
    name: str,
    folder: Path,
    commands: tuple[list[str], list[str]],
    kills: int,
    rng: random.Random,
    *,
    afresh: bool = False,
) -> Counter[str]:
    """Replace the results of the first command by those of the second, again and again."""
    keep, parent = folder / name / "keep", folder / name / "parent"
    parent.mkdir(parents=True)
    out = parent / "out"
    first, second = ([*command, "--out", str(out), "--force"] for command in commands)
    Killer(first, rng, lambda: True).run()
    shutil.copytree(out, keep)
    old = sums(keep, exact=True)
    killer = Killer(second, rng, lambda: bool(list(parent.glob(".out.*-*"))), afresh=afresh)
    seconds = killer.run()
    new = sums(out, exact=False)
    stages: Counter[str] = Counter()
    done = 0
    while done < kills:
        shutil.rmtree(out)
        shutil.copytree(keep, out)
        anywhere = done % 2 == 0
        if not killer.kill(seconds if anywhere else 0.25 * seconds, anywhere):
            continue  # ended before its time came
        done += 1
        begun, aside = half_written(parent, out), not out.exists() or bool(list(parent.glob(".out.replaced-*")))
        visible = {path.name for path in parent.iterdir() if not path.name.startswith(".")}
        assert visible <= {"out"}, visible  # half-written folders are hidden, which no command takes for results
        locked = (parent / ".out.lock").exists()
        with alone(out):  # what every run begins with
            pass
        assert {path.name for path in parent.iterdir()} == {"out"}, "something is left after the next run began"
        if sums(out, exact=True) == old:
            outcome = "old results whole"
        elif sums(out, exact=False) == new:
            outcome = "new results whole"
        else:
            raise AssertionError(f"neither the old nor the new results after kill {done}: kept in {parent}")
        stage = "moving into place" if aside else "writing" if begun else "computing" if locked else "starting"
        if outcome.startswith("new"):
            stage = "done, ending"
        stages[f"{name} --force | {stage} | {outcome}"] += 1
        print(f"{name}: kill {done} of {kills}: {stage}, {outcome}", file=sys.stderr)
        if done % 10 == 0:  # and a whole run afterwards
            killer.run()
            assert sums(out, exact=False) == new
    return stages


def kill_batch(folder: Path, plate: Path, kills: int, rng: random.Random, mode: str) -> Counter[str]:
    """Kill a batch and its resumes until it is done; it must end as one that was never stopped."""
    out = folder / mode / "out"
    out.parent.mkdir()
    command = ["batch", str(plate), "--out", str(out), "--resume", "--quiet", f"--{mode}"]
    killer = Killer(command, rng, lambda: bool(list(out.glob("wells/.*"))))
    seconds = killer.run()
    expected = sums(out, exact=False)
    stages: Counter[str] = Counter()
    done = 0
    while done < kills:
        shutil.rmtree(out, ignore_errors=True)
        for attempt in range(MOST_KILLS_OF_A_BATCH):
            anywhere = (done + attempt) % 2 == 0
            if not killer.kill(seconds if anywhere else 0.25 * seconds, anywhere):
                break
            done += 1
            stage = batch_stage(out, expected)
            stages[f"batch --{mode} | {stage} | resumed to the same bytes"] += 1
            print(f"batch --{mode}: kill {done} of {kills}: {stage}", file=sys.stderr)
            if done == kills:
                break
        killer.run()
        assert sums(out, exact=False) == expected, f"a resumed batch ended otherwise: {out}"
        left = [str(path) for path in out.parent.rglob(".*")]
        assert not left, left
    return stages


def batch_stage(out: Path, expected: dict[str, str]) -> str:
    """How far a killed batch was; each of its wells must be whole or not there, and so its manifest."""
    wells = sorted(path for path in out.glob("wells/*") if not path.name.startswith("."))
    for well in wells:
        files = {f"wells/{well.name}/{name}": value for name, value in sums(well, exact=False).items()}
        assert files.items() <= expected.items(), f"{well} is half written"
        assert f"wells/{well.name}/run.json" in files
    if (out / "run.json").exists():
        assert sums(out, exact=False).items() <= expected.items()
        return "done, ending"
    if not (out / "batch.json").exists():
        return "starting"
    if half_written(out.parent, out):
        return "writing a well"
    if not (out / "model.cytomoe").exists() and not wells:
        return "fitting"
    return f"{len(wells)} wells done"


def main() -> None:
    """Kill, check, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cluster", type=int, default=50, metavar="KILLS")
    parser.add_argument("--batch", type=int, default=50, metavar="KILLS")
    for name in ("predict", "merge", "importing"):
        parser.add_argument(f"--{name}", type=int, default=0, metavar="KILLS")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    folder = Path(tempfile.mkdtemp(prefix="kill-"))
    plate = folder / "plate"
    plate.mkdir()
    write_plate(plate, wells=3, events=EVENTS, seed=1)
    torch.set_num_threads(1)
    stages: Counter[str] = Counter()
    wells = [str(path) for path in sorted(plate.glob("*.fcs"))]
    if arguments.cluster:
        commands = tuple([*CLUSTER, wells[0], "--seed", seed] for seed in ("1", "2"))
        stages += kill_replacing("cluster", folder, commands, arguments.cluster, rng)
    if arguments.predict or arguments.merge or arguments.importing:
        fit = folder / "fit"
        Killer([*CLUSTER, *wells, "--out", str(fit)], rng, lambda: True).run()
        mapping = tuple(["predict", str(fit), well, "--quiet", "--no-report"] for well in wells[:2])
        for name in ("old", "new"):
            (folder / f"{name}.csv").write_text(f"cluster,name\n1,{name}\n")
        merging = tuple(
            ["merge", str(fit), "--map", str(folder / f"{name}.csv"), "--no-report"] for name in ("old", "new")
        )
        stages += kill_replacing("predict", folder, mapping, arguments.predict, rng)
        stages += kill_replacing("merge", folder, merging, arguments.merge, rng)
        stages += kill_replacing("predict afresh", folder, mapping, arguments.importing, rng, afresh=True)
    if arguments.batch:
        for mode, kills in (("pooled", arguments.batch - arguments.batch // 2), ("per-sample", arguments.batch // 2)):
            stages += kill_batch(folder, plate, kills, rng, mode)
    print("| command | killed while | afterwards | kills |\n|---|---|---|---|")
    for stage, count in sorted(stages.items()):
        print(f"| `{stage.replace(' | ', '` | ', 1)} | {count} |")
    print(f"\n{sum(stages.values())} kills, nothing lost")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
