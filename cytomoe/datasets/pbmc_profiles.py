"""Populations of human blood mononuclear cells as the simulator knows them: abundance, marker levels, continuity.

Which markers a population carries follows published phenotypes, named beside each. Levels are medians in ion counts,
rounded from what such staining gives on a mass cytometer (Bodenmiller et al. 2012 for this panel); a marker that is not
listed is negative.

References
----------
Maecker et al. 2012, "Standardizing immunophenotyping for the Human Immunology Project", Nat. Rev. Immunol. 12:191.
Ziegler-Heitbrock et al. 2010, "Nomenclature of monocytes and dendritic cells in blood", Blood 116:e74.
Bodenmiller et al. 2012, "Multiplexed mass cytometry profiling of cellular states perturbed by small-molecule
regulators", Nat. Biotechnol. 30:858.
Lambert & Genin 2004, "CD3 bright lymphocyte population reveal gammadelta T cells", Cytometry B 61:45.
Reinhold et al. 1993, "CD7- T cells represent a subset of normal human blood lymphocytes", J. Immunol. 150:2081.
Bronte et al. 2016, "Recommendations for myeloid-derived suppressor cell nomenclature and characterization standards",
Nat. Commun. 7:12150.
Toba et al. 1999, phenotype of human basophils, Cytometry 35:249.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Population:
    """A population of the simulated blood.

    Attributes
    ----------
    name
        Name of its gate.
    percent
        Share of the gated events of an untreated well.
    treated
        Factor on that share in the treated well.
    counts
        Median ion counts of the markers it carries.
    gradient
        Change of the logarithm of a marker per standard deviation along the population's own axis, which makes it a
        continuum in several markers at once instead of a ball.
    """

    name: str
    percent: float
    treated: float
    counts: Mapping[str, float]
    gradient: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Marker:
    """A surface marker of the panel.

    Attributes
    ----------
    antigen
        Its name, $PnS.
    channel
        Its metal channel, $PnN.
    spread
        Standard deviation of the logarithm of the counts within a population.
    noise
        Scale of the noise around zero, which leaves small negative values after background subtraction.
    """

    antigen: str
    channel: str
    spread: float
    noise: float


# The surface markers of the Bodenmiller panel with their metals. CD3 is summed over five masses, so its noise is wider;
# the spread of IgM and HLA-DR is what sets B cells and monocytes apart from tidy Gaussian clouds.
MARKERS = (
    Marker("CD3", "CD3(110:114)Dd", spread=0.36, noise=1.2),
    Marker("CD45", "CD45(In115)Dd", spread=0.30, noise=0.5),
    Marker("CD4", "CD4(Nd145)Dd", spread=0.36, noise=0.5),
    Marker("CD20", "CD20(Sm147)Dd", spread=0.55, noise=0.5),
    Marker("CD33", "CD33(Nd148)Dd", spread=0.45, noise=0.5),
    Marker("CD123", "CD123(Eu151)Dd", spread=0.40, noise=0.5),
    Marker("CD14", "CD14(Gd160)Dd", spread=0.50, noise=0.6),
    Marker("IgM", "IgM(Yb171)Dd", spread=0.85, noise=0.6),
    Marker("HLA-DR", "HLA-DR(Yb174)Dd", spread=0.50, noise=0.7),
    Marker("CD7", "CD7(Yb176)Dd", spread=0.50, noise=0.5),
)

POPULATIONS = (
    # T helper cells; from naive to memory CD45 rises and CD7 falls (Maecker 2012; Reinhold 1993).
    Population(
        "CD4 T cells",
        percent=30.0,
        treated=0.85,
        counts={"CD3": 32, "CD45": 120, "CD4": 28, "CD7": 40},
        gradient={"CD7": -0.35, "CD45": 0.15, "CD3": 0.15},
    ),
    # Memory T helper cells without CD7 (Reinhold 1993).
    Population("CD7- CD4 T cells", percent=3.5, treated=0.9, counts={"CD3": 30, "CD45": 140, "CD4": 26, "CD7": 0.8}),
    # Cytotoxic T cells, gated as CD3+ CD4- for want of CD8 in the panel (Bodenmiller 2012).
    Population(
        "CD8 T cells",
        percent=25.0,
        treated=0.9,
        counts={"CD3": 30, "CD45": 125, "CD7": 42},
        gradient={"CD7": -0.30, "CD45": 0.15},
    ),
    # Gamma-delta T cells: CD3 bright, CD4- (Lambert & Genin 2004).
    Population("gd T cells", percent=2.0, treated=1.1, counts={"CD3": 120, "CD45": 150, "CD7": 18}),
    # CD3- CD7+; no CD16 or CD56 in the panel (Maecker 2012).
    Population(
        "NK cells",
        percent=10.0,
        treated=1.4,
        counts={"CD45": 95, "CD7": 60},
        gradient={"CD7": 0.25, "CD45": 0.10},
    ),
    # Naive and unswitched memory B cells; surface IgM varies over two decades (Maecker 2012).
    Population(
        "IgM+ B cells",
        percent=8.0,
        treated=1.1,
        counts={"CD45": 92, "CD20": 66, "IgM": 42, "HLA-DR": 50, "CD33": 2},
        gradient={"IgM": 0.30, "HLA-DR": 0.20},
    ),
    # Switched memory B cells (Maecker 2012).
    Population("IgM- B cells", percent=2.5, treated=1.0, counts={"CD45": 95, "CD20": 70, "HLA-DR": 46, "CD33": 2}),
    # Classical monocytes, towards the intermediate ones with less CD14 and more HLA-DR (Ziegler-Heitbrock 2010).
    Population(
        "CD14+ HLA-DR mid monocytes",
        percent=11.0,
        treated=0.45,
        counts={"CD45": 118, "CD33": 31, "CD14": 28, "HLA-DR": 42, "CD4": 3, "CD123": 2},
        gradient={"CD14": -0.20, "HLA-DR": 0.30},
    ),
    Population(
        "CD14+ HLA-DR high monocytes",
        percent=1.2,
        treated=0.5,
        counts={"CD45": 85, "CD33": 24, "CD14": 16, "HLA-DR": 320, "CD4": 3, "CD123": 3},
    ),
    # Monocytes that lost HLA-DR, as under stress and in cancer (Bronte 2016).
    Population(
        "CD14+ HLA-DR- monocytes",
        percent=0.7,
        treated=3.0,
        counts={"CD45": 100, "CD33": 26, "CD14": 24, "HLA-DR": 1.5, "CD4": 2},
    ),
    # Non-classical monocytes and myeloid dendritic cells (Ziegler-Heitbrock 2010).
    Population(
        "CD14- HLA-DR+ myeloid cells",
        percent=2.2,
        treated=0.7,
        counts={"CD45": 100, "CD33": 22, "CD14": 1.5, "HLA-DR": 95, "CD4": 2, "CD123": 3},
        gradient={"HLA-DR": 0.30, "CD33": -0.15},
    ),
    # Plasmacytoid dendritic cells: CD123 bright, HLA-DR+, CD4 dim, lineage negative (Ziegler-Heitbrock 2010).
    Population(
        "Plasmacytoid dendritic cells",
        percent=0.3,
        treated=1.0,
        counts={"CD45": 36, "CD123": 80, "HLA-DR": 42, "CD4": 7},
    ),
    # CD123 bright, HLA-DR-, CD33 dim (Toba 1999).
    Population("Basophils", percent=0.8, treated=1.3, counts={"CD45": 45, "CD123": 75, "CD33": 9}),
    # Leukocytes without any lineage marker of the panel (the surface-negative gates of Bodenmiller 2012).
    Population("Surface-negative cells", percent=2.8, treated=1.2, counts={"CD45": 70}),
)
