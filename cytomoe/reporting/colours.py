"""Colours of the report, the same in every figure and chosen so that colour-blind readers can tell them apart.

The first eight cluster colours are at least 25 units of CIE L*a*b* apart for readers with normal sight, deuteranopia
and protanopia (Machado et al. 2009). The others were drawn by the Glasbey method (Glasbey et al. 2007, in McInnes's
library glasbey): each as far as possible from those before it, within bounds of lightness and chroma. No fifty colours
can all be told apart, so every figure also writes the cluster's number.
"""

from __future__ import annotations

CLUSTERS = (
    "#387cd5", "#fb8604", "#2586a5", "#c55a69", "#6bd4cf", "#a25511", "#3a377b", "#abb86a", "#fbb2c6", "#2d6555",
    "#657500", "#a68286", "#18ceaa", "#419296", "#00a265", "#9686e7", "#eb8a7d", "#c6caef", "#c25945", "#aedb9e",
    "#656179", "#924961", "#a2a2b6", "#754d45", "#3de7df", "#b67d10", "#fbbe4d", "#558271", "#beb6ff", "#82a692",
    "#82ba82", "#007d45", "#ca9aa6", "#7d75aa", "#aed7ca", "#18c2ba", "#2d698a", "#ae8e59", "#8a6555", "#699ebe",
    "#fbaa79", "#007975", "#5ddfff", "#a65118", "#2d6914", "#798241", "#ef8655", "#a6c2ca", "#d7696d", "#1492c2",
)  # fmt: skip

# Lightness falls steadily, so that the order survives any colour blindness and grey print.
SEQUENTIAL = ("#e9edf2", "#bcd3e3", "#84b3d0", "#4a8bb8", "#24629a", "#143d72", "#0b1f45")
# Doubt stands out, certainty recedes.
CONFIDENCE = ("#9c3a06", "#d9741f", "#efb98a", "#e3dcd6", "#ccd3da")


def cluster_colour(number: int) -> str:
    """Colour of cluster ``number`` (from 1); they repeat after fifty."""
    return CLUSTERS[(number - 1) % len(CLUSTERS)]


def ink_on(colour: str) -> str:
    """Black or white, whichever has more contrast on ``colour`` (#rrggbb; relative luminance as in WCAG 2)."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    luminance = sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return "black" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "white"
