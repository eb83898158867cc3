"""Every number the method needs, in one frozen, validated place.

Presets are instances of :class:`Settings`; the command line makes its options from it, so a default stands in one
place. ``docs/method.md`` says where each value comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from cytomoe.errors import InputError, did_you_mean

SimilarityName = Literal["valleys", "consensus", "umap", "knn"]
Metric = Literal["euclidean", "correlation", "cosine", "canberra"]
Activation = Literal["relu", "elu"]

# What every file can hold in which a seed is written.
LARGEST_SEED = 2**32 - 1
# Far beyond what is of use, and well within memory: experts of a model, cells that are generated at once.
MOST_EXPERTS = 1_000
MOST_GENERATED = 10_000_000
# k-means needs means, so consensus partitions know the metrics that Euclidean distance on transformed rows reproduces.
CONSENSUS_METRICS = ("euclidean", "correlation", "cosine")


@dataclass(frozen=True)
class Settings:
    """Settings of similarity, model and training.

    Attributes
    ----------
    experts
        Upper bound on the number of clusters (K), 1,000 at most. The fit decides how many it uses.
    code_size
        Dimensions of the code (L).
    encoder_widths, gating_widths, expert_widths
        Hidden layers of the encoder, the gating network and each expert.
    activation
        Activation of all hidden layers.
    batch_norm
        Batch normalisation in encoder and gating network.
    dropout
        Share of hidden units dropped in the noisy pass of the DEPICT loss; the clean pass has none.
    similarity
        ``valleys``: share of partitions in which two cells meet, each parting cells where markers have valleys;
        ``consensus``: the same with k-means centres merged by a hierarchy; ``umap``: closer than ``threshold`` in a
        UMAP projection; ``knn``: among the ``neighbours`` nearest of the batch in that projection.
    metric
        How cells are compared: by k-means for ``consensus``, by UMAP for ``umap`` and ``knn``.
    resolution
        How finely ``valleys`` part the cells. Above 1: more clusters, down to narrower parts and to those on which
        fewer partitions agree; below 1: fewer.
    partitions
        Partitions behind the consensus (R). More: smoother, slower.
    valley_depth
        Largest upper bound of (density in a valley) / (density at the lower of its peaks) at which cells are parted.
        1: at every valley that is surely lower than its peaks. Smaller: fewer clusters.
    valley_confidence
        How far the bound lies above the density measured, in standard deviations, for up to 10 markers; more markers
        raise it. Larger: fewer clusters.
    agreement
        Share of the partitions that must part two groups of cells before they are two clusters (``valleys``). Larger:
        fewer clusters.
    widest_part
        Height (average linkage, for 10 markers) above which a part without a valley is divided. Larger: fewer clusters.
    micro_clusters
        k-means centres per partition (M). More: finer populations can be told apart, noise too.
    partition_clusters
        Clusters into which the hierarchy of the centres is cut in each partition.
    threshold
        Distance in the projection below which two cells are similar. Larger merges more.
    neighbours
        Nearest cells of the batch that count as similar with ``knn``.
    projection_neighbours
        Neighbours per cell in UMAP's graph.
    coef_reconstruction, coef_clustering, coef_kl, coef_depict
        Weights of the losses; ``coef_depict`` is the paper's pi_2, within the clustering loss.
    code_noise
        Standard deviation of the noise added to code means while training.
    batch_size
        Cells per step.
    warm_steps
        Steps in which the gating network first learns clusters by cross-entropy: those on which the partitions agree
        (``valleys``), or one partition (``consensus``).
    steps
        Joint steps on all losses.
    learning_rate
        Peak of the one-cycle schedule, or the constant rate where ``one_cycle`` is off.
    one_cycle
        Warm up and anneal the learning rate over the steps.
    clip_gradient
        Largest norm of the gradient; 0 leaves it alone.
    sampling_power
        Cells are drawn with weight (size of their cluster, or micro-cluster with ``consensus``) ** -sampling_power; 0
        draws all cells alike.
    """

    experts: int = 50
    code_size: int = 9
    encoder_widths: tuple[int, ...] = (100,)
    gating_widths: tuple[int, ...] = (64, 64)
    expert_widths: tuple[int, ...] = (50,)
    activation: Activation = "relu"
    batch_norm: bool = True
    dropout: float = 0.5

    similarity: SimilarityName = "valleys"
    metric: Metric = "euclidean"
    resolution: float = 1.0
    partitions: int = 24
    valley_depth: float = 1.0
    valley_confidence: float = 2.25
    agreement: float = 0.875
    widest_part: float = 2.5
    micro_clusters: int = 100
    partition_clusters: int = 15
    threshold: float = 2.0
    neighbours: int = 10
    projection_neighbours: int = 15

    coef_reconstruction: float = 1.0
    coef_clustering: float = 1.0
    coef_kl: float = 0.0
    coef_depict: float = 0.0
    code_noise: float = 1.0

    batch_size: int = 256
    warm_steps: int = 500
    steps: int = 200
    learning_rate: float = 5e-3
    one_cycle: bool = True
    clip_gradient: float = 1.0
    sampling_power: float = 0.5

    def __post_init__(self) -> None:
        self._require("experts", 1 <= self.experts <= MOST_EXPERTS, f"from 1 to {MOST_EXPERTS:,}")
        for name in ("code_size", "partitions", "partition_clusters", "batch_size", "steps", "neighbours"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        self._require("micro_clusters", self.micro_clusters >= 2, "at least 2")
        self._require("projection_neighbours", self.projection_neighbours >= 2, "at least 2")
        self._require("resolution", 0.1 <= self.resolution <= 10, "from 0.1 to 10")
        self._require("valley_depth", 0 < self.valley_depth <= 1, "above 0, up to 1")
        self._require("valley_confidence", 0 <= self.valley_confidence <= 30, "from 0 to 30")
        self._require("agreement", 0 < self.agreement <= 1, "above 0, up to 1")
        self._require("threshold", self.threshold > 0, "above 0")
        self._require("learning_rate", self.learning_rate > 0, "above 0")
        self._require("dropout", 0 <= self.dropout < 1, "at least 0 and below 1")
        for name in ("warm_steps", "coef_reconstruction", "coef_clustering", "coef_kl", "coef_depict", "code_noise"):
            self._require(name, getattr(self, name) >= 0, "at least 0")
        for name, choices in (("similarity", SimilarityName), ("metric", Metric), ("activation", Activation)):
            legal = get_args(choices)
            self._require(name, getattr(self, name) in legal, f"one of {', '.join(legal)}")
        for name in ("encoder_widths", "gating_widths", "expert_widths"):
            widths = getattr(self, name)
            self._require(name, bool(widths) and all(width >= 1 for width in widths), "one or more positive numbers")
        if self.similarity == "consensus" and self.metric not in CONSENSUS_METRICS:
            raise InputError(
                f"metric {self.metric} does not go with similarity consensus; "
                f"use {', '.join(CONSENSUS_METRICS)}, or --similarity umap"
            )
        if self.similarity == "valleys" and self.metric != "euclidean":
            raise InputError(f"metric {self.metric} does not go with similarity valleys; add --similarity umap")

        if self.similarity != "valleys" and self.resolution != 1:
            raise InputError(f"a resolution does not go with similarity {self.similarity}; leave one of the two out")

    @property
    def clips_noise(self) -> bool:
        """Whether negative arcsinh values, which are noise, are set to 0; valleys need them to see the peak at 0."""
        return self.similarity != "valleys"

    def _require(self, name: str, holds: bool, legal: str) -> None:
        if not holds:
            raise InputError(f"setting {name} is {getattr(self, name)}; it must be {legal}")

    def to_dict(self) -> dict[str, Any]:
        """Settings as JSON-ready values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """Settings from :meth:`to_dict`; an unknown name is refused."""
        known = {field.name for field in fields(cls)}
        for name in values:
            if name not in known:
                raise InputError(f"unknown setting {name}{did_you_mean(name, known)}")
        arguments: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        for name, value in arguments.items():
            _refuse_other_type(name, value, getattr(cls, name))
        return cls(**arguments)


def _refuse_other_type(name: str, value: object, default: object) -> None:
    """Refuse a value from a file that is of another type than the setting: a text for a number, an endless number."""
    fits = type(value) is type(default) or (type(default) is float and type(value) is int)
    if isinstance(value, tuple):
        fits = fits and all(type(width) is int and width < 2**31 for width in value)
    elif isinstance(value, int | float):
        fits = fits and abs(value) < 2**31
    if not fits:
        raise InputError(f"setting {name} can't be {str(value)[:40]}")


# The paper's settings for the Bodenmiller wells (appendix A.1), with the fewest departures that keep it from
# collapsing; docs/method.md gives the reason and the measurement of each.
PAPER = Settings(
    experts=15,
    code_size=9,
    gating_widths=(9, 9, 9, 9, 9),
    activation="relu",
    similarity="umap",
    metric="correlation",
    threshold=3.0,
    batch_size=128,
    warm_steps=0,
    steps=20000,
    learning_rate=5e-3,
    one_cycle=False,
    clip_gradient=0.0,
    sampling_power=0.0,
)

# What users change of a preset.
CHANGES = ("experts", "resolution", "similarity", "metric")
PRESETS: dict[str, Settings] = {"default": Settings(), "paper": PAPER}


def preset(name: str, **changes: Any) -> Settings:
    """Settings of a preset with some of them changed; a change of None leaves the preset's value.

    Raises
    ------
    InputError
        If the preset does not exist or a value is out of range.
    """
    if name not in PRESETS:
        raise InputError(f"unknown preset {name}; there are {', '.join(PRESETS)}")
    given = {key: value for key, value in changes.items() if value is not None}
    # Numbers of numpy, as a loop over an array gives them, can't be written into a model's description.
    plain = {key: value.item() if hasattr(value, "item") else value for key, value in given.items()}
    return replace(PRESETS[name], **plain)
