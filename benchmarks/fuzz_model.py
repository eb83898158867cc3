"""Fuzz model files: a hostile ``model.cytomoe`` is refused with an InputError, or is a model that maps cells.

Run with ``python benchmarks/fuzz_model.py [--engine atheris|mutate] [--runs N] [--seed N] [--findings DIR]``. Engine
``atheris`` is guided by coverage (``pip install atheris``), with the same changes. The seeds are the golden files in
``tests/golden``. A model is taken apart into description, tensors and layout; numbers, names, types and shapes are
changed where they hurt, the bytes too, and what still loads has to map cells to clusters and generate some. Every
input that breaks a promise is written to ``--findings`` and ends the run with exit code 1.
"""

from __future__ import annotations

import copy
import json
import random
import sys
import warnings
from pathlib import Path
from typing import Any

from fuzz_engines import BrokenPromiseError, Fuzzer, Target, drive

GOLDEN = Path(__file__).parent.parent / "tests" / "golden"
MAX_SIZE = 1 << 17  # bytes of an input of libFuzzer; the seeds have 16 kB
INSTRUMENTED = [
    *("cytomoe.annotation", "cytomoe.estimator", "cytomoe.fit_summary", "cytomoe.model_file", "cytomoe.saved_model"),
    *("cytomoe.model", "cytomoe.outlyingness", "cytomoe.preprocessing", "cytomoe.settings"),
]
SLOW = 5.0  # seconds of processor time for a small model

NUMBERS = (0, 1, -1, 2, 3, 8, 255, 1000, 10**6, 2**31 - 1, 2**31, 2**63, 10**30, 0.5, -0.5, 1e-300, 1e308, 1e38, 4e38)
TEXTS = ("", "arcsinh", "logicle", "none", "valleys", "relu", "elu", "mass", "../../x", "=1+1", "<script>", "x" * 5000)
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], [0], ["a"], {"a": 1}, [1e308, 2])
DTYPES = ("F32", "F64", "F16", "BF16", "I64", "I32", "U8", "BOOL", "F8_E4M3", "C64", "X")


class Model:
    """A model file taken apart, and put together again."""

    def __init__(self, content: bytes) -> None:
        size = int.from_bytes(content[:8], "little")
        self.header: dict[str, Any] = json.loads(content[8 : 8 + size])
        self.description = json.loads(self.header["__metadata__"]["cytomoe"])
        self.data = bytearray(content[8 + size :])

    def build(self) -> bytearray:
        metadata = {**self.header["__metadata__"], "cytomoe": json.dumps(self.description)}
        header = json.dumps({**self.header, "__metadata__": metadata}).encode()
        return bytearray(len(header).to_bytes(8, "little") + header + self.data)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all that stands in nested lists and dictionaries."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, inner in items for found in [(*path, key), *leaves(inner, (*path, key))]]


class Mutator:
    """Makes new model files from the seeds."""

    def __init__(self, seeds: list[bytes], rng: random.Random) -> None:
        self.seeds, self.rng = [Model(seed) for seed in seeds], rng
        # The history is long and harmless; most changes belong to the rest.
        self.paths = [
            [p for p in leaves(model.description) if p[0] != "history" or rng.random() < 0.01] for model in self.seeds
        ]

    def __call__(self) -> bytes:
        number = self.rng.randrange(len(self.seeds))
        return self._changed(copy.deepcopy(self.seeds[number]), self.paths[number])

    def of(self, content: bytes, rng: random.Random) -> bytes:
        """A new model file from any other; one of the seeds' where that is none."""
        self.rng = rng
        try:
            model = Model(content)
            return self._changed(model, leaves(model.description))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            return self()

    def _changed(self, model: Model, paths: list[tuple[Any, ...]]) -> bytes:
        for _ in range(1 + int(self.rng.expovariate(1.0))):
            if self.rng.random() < 0.65:
                self._change(model.description, self.rng.choice(paths))
            else:
                self._change_tensor(model)
        content = model.build()
        if self.rng.random() < 0.25:
            self._damage(content)
        return bytes(content)

    def _value(self, old: Any) -> Any:
        if isinstance(old, int | float) and self.rng.random() < 0.7:
            return self.rng.choice(NUMBERS)
        if isinstance(old, str) and self.rng.random() < 0.5:
            return self.rng.choice(TEXTS)
        if isinstance(old, list) and self.rng.random() < 0.5:
            return old * self.rng.choice([0, 2, 50]) if len(old) < 100 else old[:-1]
        return self.rng.choice((*NUMBERS, *TEXTS, *OTHERS, float("nan"), float("inf")))

    def _change(self, tree: Any, path: tuple[Any, ...]) -> None:
        """Give one place of a tree another value, or take it out."""
        for key in path[:-1]:
            try:
                tree = tree[key]
            except (KeyError, IndexError, TypeError):
                return  # an earlier change has taken it away
        key = path[-1]
        there = (isinstance(tree, dict) and key in tree) or (
            isinstance(tree, list) and isinstance(key, int) and key < len(tree)
        )
        if not there:
            return
        if self.rng.random() < 0.1:
            del tree[key]
        elif self.rng.random() < 0.05 and isinstance(tree, dict):
            tree[self.rng.choice(TEXTS)] = tree.pop(key)
        else:
            tree[key] = self._value(tree[key])

    def _change_tensor(self, model: Model) -> None:
        """Change what the layout says of a tensor, or the values of one."""
        name = self.rng.choice([name for name in model.header if name != "__metadata__"] or ["__metadata__"])
        entry = model.header[name]
        kind = self.rng.randrange(5)
        if kind == 0:
            entry["dtype"] = self.rng.choice(DTYPES)
        elif kind == 1 and entry.get("shape"):
            entry["shape"][self.rng.randrange(len(entry["shape"]))] = self.rng.choice(NUMBERS[:13])
        elif kind == 2 and "data_offsets" in entry:
            entry["data_offsets"][self.rng.randrange(2)] = self.rng.choice([*NUMBERS[:13], len(model.data)])
        elif kind == 3 and name != "__metadata__":
            model.header[self.rng.choice(["x", "centres", "network.x", ""])] = model.header.pop(name)
        elif model.data:
            start = self.rng.randrange(len(model.data) // 4) * 4
            special = (b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\xff\xff\x7f\x7f", b"\x00" * 4, b"\x00\x00\x80\xbf")
            model.data[start : start + 4] = self.rng.choice(special)

    def _damage(self, content: bytearray) -> None:
        kind = self.rng.randrange(5)
        if kind == 0:
            content[self.rng.randrange(len(content))] = self.rng.randrange(256)
        elif kind == 1:
            del content[self.rng.randrange(len(content)) :]
        elif kind == 2:
            content[:8] = self.rng.randrange(2 ** self.rng.choice([8, 16, 32, 64])).to_bytes(8, "little")
        elif kind == 3:
            content += bytes(self.rng.randrange(1, 100))
        else:
            # Nested more deeply than any parser follows.
            depth = self.rng.choice([1000, 100_000])
            text = json.dumps({"__metadata__": {"cytomoe": "[" * depth}}).encode()
            content[:] = len(text).to_bytes(8, "little") + text


def load_and_use(path: Path) -> None:
    """Load a model, map cells and generate some; raises InputError where it is refused."""
    import numpy as np

    from cytomoe.estimator import MoESimVAE

    model = MoESimVAE.load(path, device="cpu")
    cells = np.linspace(-1, 8, 5 * len(model.preprocessor_.markers), dtype=np.float32).reshape(5, -1)
    codes, clusters, confidence = model.map_all(cells)
    if not (clusters.min() >= 1 and clusters.max() <= model.n_clusters_):
        raise AssertionError(f"clusters {clusters} of {model.n_clusters_}")
    if codes.shape != (5, model.settings_.code_size) or confidence.shape != (5,):
        raise AssertionError("misshapen results")
    if model.sample(1, 3, seed=0).shape != (3, cells.shape[1]):
        raise AssertionError("misshapen samples")
    model.preprocessor_.describe()
    json.dumps(model.preprocessor_.to_dict()), json.dumps(model.settings_.to_dict())


class Loader(Target):
    """Loads and uses model files."""

    def __init__(self) -> None:
        import torch

        import cytomoe.estimator  # noqa: F401 - its import counts as no run's time

        torch.set_num_threads(1)
        warnings.simplefilter("ignore")  # weights near the largest float overflow, which is what was asked for
        super().__init__("model.cytomoe", SLOW)

    def take(self, content: bytes) -> str:
        """Load the input and use it."""
        from cytomoe.errors import InputError

        try:
            load_and_use(self.path)
        except InputError as error:
            if "\n" in str(error) or len(str(error)) > 1500:
                raise BrokenPromiseError("not one line") from error
            return "refused"
        return "loaded"


def inside_atheris(report: Path, options: list[str]) -> None:
    """Let libFuzzer drive the loading of models; half of its inputs are made by our mutator."""
    import atheris
    import torch  # noqa: F401 - not instrumented, which would take minutes

    with atheris.instrument_imports(include=INSTRUMENTED):
        load = Loader()
    mutator = Mutator(FUZZER.read_seeds(), random.Random(0))

    def mutate(content: bytes, most: int, seed: int) -> bytes:
        made = mutator.of(content, random.Random(seed)) if seed % 2 else atheris.Mutate(content, most)
        return made[:most]

    drive(report, options, load, mutate)


FUZZER = Fuzzer(
    script=__file__,
    about=__doc__.splitlines()[0],
    seeds=GOLDEN,
    suffix=".cytomoe",
    target=Loader,
    mutator=Mutator,
    inside=inside_atheris,
    runs=10_000,
    corpus=Path("build/model_corpus"),
    memory=10 << 30,  # most of which is torch's libraries
    memory_mb=4000,
    max_size=MAX_SIZE,
)

if __name__ == "__main__":
    sys.exit(FUZZER.main())
