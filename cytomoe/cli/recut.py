"""``cytomoe recut``: fewer clusters of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cytomoe.cli import options
from cytomoe.cli.console import merge_and_print


@click.command(short_help="Merge the clusters of a run into fewer, by a tree of them.")
@click.argument("run", type=options.FILE)
@click.option(
    "--clusters", type=click.IntRange(min=1), help="How many populations to leave. Default: print the tree alone."
)
@options.merge_options("<run>_<number>")
@click.pass_obj
def recut(command: list[str], run: Path, clusters: int | None, **choices: Any) -> None:
    """Merge the clusters of a run into fewer, those with like markers first, without training again.

    Without --clusters, prints the tree of the clusters: how far apart those lie that it joins, in which marker most,
    and how many are left when it is cut there. RUN stays as it is; the result is a copy with the populations in every
    file, and the order of the merges in run.json; of a batch it is the model with them, for batch --model. You are
    warned where clusters that a marker parts are joined, and where half of the gates lose their cluster. To choose the
    merges yourself, see cytomoe merge.

    \b
    Examples:
      cytomoe recut sample_cytomoe
      cytomoe recut sample_cytomoe --clusters 8 --out eight
    """
    from cytomoe.runs.recut import TreeCut

    if clusters is None:
        _print_tree(run, as_json=choices["as_json"])
    else:
        merge_and_print(command, run, TreeCut(clusters), choices, suffix=str(clusters))


def _print_tree(run: Path, *, as_json: bool) -> None:
    """The tree of a run's clusters, its root at the top."""
    import json

    from cytomoe.io.run_folder import is_batch, read_clusters, read_manifest
    from cytomoe.runs.merge_batch import BatchClusters
    from cytomoe.runs.recut import described_clusters, tree_of

    clusters = BatchClusters.read(run).table if is_batch(run) else read_clusters(run, read_manifest(run))
    merges = tree_of(clusters).to_dict("records")
    if as_json:
        click.echo(json.dumps({"clusters": len(clusters), "tree": merges}))
        return
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    nodes = {k: Tree(Text(name)) for k, name in enumerate(described_clusters(clusters), start=1)}
    for number, merge in enumerate(merges, start=len(clusters) + 1):
        left = merge["clusters"]
        remaining = f"{left} {'cluster' if left == 1 else 'clusters'} left"
        title = f"distance {merge['height']:.2f}, most in {merge['marker']}, {remaining}"
        nodes[number] = Tree(Text(title))
        nodes[number].children = [nodes.pop(merge["left"]), nodes.pop(merge["right"])]
    (root,) = nodes.values()
    Console(soft_wrap=True, highlight=False).print(root)
