"""VaDE (Jiang et al. 2017): a variational autoencoder with one decoder and a mixture of Gaussians as its prior.

The peer of the paper's generation experiment. Codes are drawn from a component of the prior; those whose posterior for
the component is below a threshold are rejected. N is the number of cells, D of dimensions, L the code size, K the
number of components.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from cytomoe.errors import RunError
from cytomoe.model.inference import CHUNK
from cytomoe.model.networks import hidden_layers
from cytomoe.training.loop import seeded_torch, single_thread
from cytomoe.training.optimizer import Adam

FloatArray = NDArray[np.float32]
Likelihood = Literal["bernoulli", "gaussian"]
Phase = Literal["pretraining", "training"]
_EPS = 1e-10
# Variances of codes start at this share of a component's: wider ones drown the components before they are trained.
_NARROW = 0.1
# Start and lower end of the logarithm of a Gaussian likelihood's variances, of values in [0, 1].
_NOISE, _LEAST_NOISE = -4.0, -9.0


@dataclass(frozen=True)
class VaDESettings:
    """Settings of VaDE.

    Attributes
    ----------
    likelihood
        Of values given a code: ``bernoulli`` for pixels; ``gaussian``, each dimension with a learned variance, for
        others.
    code_size
        Dimensions of the code (L).
    widths
        Hidden layers of the encoder; the decoder has them in reverse.
    batch_size
        Cells per step.
    pretraining_epochs
        Passes over the cells in which encoder and decoder learn to reconstruct, without a prior.
    epochs
        Passes on the evidence lower bound.
    learning_rate, decay, decay_every
        Of Adam on the lower bound: the rate is multiplied by ``decay`` every ``decay_every`` epochs. Pretraining runs
        at 0.001.
    """

    likelihood: Likelihood = "bernoulli"
    code_size: int = 10
    widths: tuple[int, ...] = (500, 500, 2000)
    batch_size: int = 100
    pretraining_epochs: int = 50
    epochs: int = 300
    learning_rate: float = 2e-3
    decay: float = 0.9
    decay_every: int = 10

    def to_dict(self) -> dict[str, Any]:
        """Settings as JSON-ready values."""
        return {**asdict(self), "widths": list(self.widths)}


# As the authors' program trains on MNIST; and networks that one core trains in minutes.
AUTHORS = VaDESettings()
SMALL = replace(AUTHORS, widths=(300, 100), batch_size=250, pretraining_epochs=100, epochs=40, decay_every=5)


class VaDENetwork(nn.Module):
    """Encoder, decoder and the components of the prior.

    Parameters
    ----------
    n_inputs
        D.
    n_components
        K.
    settings
        Code size and widths.
    """

    def __init__(self, n_inputs: int, n_components: int, settings: VaDESettings) -> None:
        super().__init__()
        self.n_inputs, self.likelihood = n_inputs, settings.likelihood
        widths, size = settings.widths, settings.code_size
        self.hidden = hidden_layers(n_inputs, widths, "relu", batch_norm=False)
        self.mean = nn.Linear(widths[-1], size)
        self.log_variance = nn.Linear(widths[-1], size)
        self.decoder = nn.Sequential(
            hidden_layers(size, widths[::-1], "relu", batch_norm=False), nn.Linear(widths[0], n_inputs)
        )
        self.noise = nn.Parameter(torch.full((n_inputs,), _NOISE), requires_grad=settings.likelihood == "gaussian")
        self.weights = nn.Parameter(torch.zeros(n_components))  # logarithms, up to a constant
        self.centres = nn.Parameter(torch.zeros(n_components, size))
        self.log_variances = nn.Parameter(torch.zeros(n_components, size))

    def encode(self, scaled: Tensor) -> tuple[Tensor, Tensor]:
        """Means and logarithms of variances of codes, both (N, L)."""
        hidden = self.hidden(scaled)
        return self.mean(hidden), self.log_variance(hidden)

    def reconstruction_loss(self, codes: Tensor, scaled: Tensor) -> Tensor:
        """Negative logarithm of the likelihood of scaled values (N, D) given their codes (N, L), mean over cells."""
        logits = self.decoder(codes)
        if self.likelihood == "bernoulli":
            return F.binary_cross_entropy_with_logits(logits, scaled, reduction="none").sum(1).mean()
        noise = self.noise.clamp(min=_LEAST_NOISE)
        errors = (scaled - torch.sigmoid(logits)).square() / noise.exp()
        return 0.5 * (math.log(2 * math.pi) + noise + errors).sum(1).mean()

    def log_joint(self, codes: Tensor) -> Tensor:
        """Return ``log p(k) p(z | k)`` of codes (N, L), shape (N, K)."""
        distances = (codes[:, None] - self.centres).square() / self.log_variances.exp()
        densities = -0.5 * (math.log(2 * math.pi) + self.log_variances + distances).sum(2)
        return torch.log_softmax(self.weights, 0) + densities

    def posterior(self, codes: Tensor) -> Tensor:
        """Return ``p(k | z)`` of codes (N, L), shape (N, K)."""
        return torch.softmax(self.log_joint(codes), 1)


def negative_elbo(network: VaDENetwork, scaled: Tensor) -> Tensor:
    """Negative evidence lower bound of VaDE (eq. 10 of Jiang et al. 2017) with one draw of each code, mean over cells.

    Parameters
    ----------
    network
        Encoder, decoder, prior.
    scaled
        Values in [0, 1], shape (N, D).
    """
    means, log_variances = network.encode(scaled)
    codes = means + torch.randn_like(means) * (0.5 * log_variances).exp()
    divergence = prior_divergence(network, codes, means, log_variances).mean()
    return network.reconstruction_loss(codes, scaled) + divergence


def prior_divergence(network: VaDENetwork, codes: Tensor, means: Tensor, log_variances: Tensor) -> Tensor:
    """Divergence of ``q(z, k | x)`` from the prior for each cell, shape (N,); ``q(k | x)`` is ``p(k | z)`` at the draw.

    Parameters
    ----------
    network
        Holds the prior.
    codes
        A draw from ``q(z | x)``, shape (N, L).
    means, log_variances
        Of ``q(z | x)``, shape (N, L).
    """
    shares = network.posterior(codes)  # (N, K)
    spread = log_variances.exp()[:, None] + (means[:, None] - network.centres).square()  # (N, K, L)
    crossed = 0.5 * (math.log(2 * math.pi) + network.log_variances + spread / network.log_variances.exp()).sum(2)
    entropy = 0.5 * (1 + math.log(2 * math.pi) + log_variances).sum(1)
    of_components = (shares * ((shares + _EPS).log() - torch.log_softmax(network.weights, 0))).sum(1)
    return (shares * crossed).sum(1) - entropy + of_components


def fit_vade(
    scaled: FloatArray,
    n_components: int,
    settings: VaDESettings,
    seed: int,
    *,
    device: torch.device,
    report: Callable[[Phase, int, float], None] | None = None,
) -> VaDENetwork:
    """Train VaDE: autoencoder, mixture of Gaussians on its codes, then the evidence lower bound.

    Parameters
    ----------
    scaled
        Values in [0, 1], shape (cells, D).
    n_components
        K.
    settings
        Shapes, epochs, rates.
    seed
        Of all randomness.
    device
        Where to compute.
    report
        Called after every epoch with the phase, the epoch from 1 and the mean loss of its cells.

    Raises
    ------
    RunError
        If the loss is no finite number any more.
    """
    rng = np.random.default_rng(seed)
    with seeded_torch(seed, device), single_thread():
        network = VaDENetwork(scaled.shape[1], n_components, settings).to(device)
        cells = torch.from_numpy(scaled).to(device)

        def reconstruct(batch: Tensor) -> Tensor:
            return network.reconstruction_loss(network.encode(batch)[0], batch)

        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        plan: list[tuple[Phase, Callable[[Tensor], Tensor], Sequence[Tensor], list[float]]] = [
            ("pretraining", reconstruct, trained, [1e-3] * settings.pretraining_epochs),
            ("training", lambda batch: negative_elbo(network, batch), trained, _rates(settings)),
        ]
        for phase, loss_of, parameters, rates in plan:
            if phase == "training":
                _start_prior(network, scaled, seed)
            optimizer = Adam(parameters, rates[0] if rates else 1e-3)
            for epoch, rate in enumerate(rates, start=1):
                optimizer.learning_rate = rate
                mean = _epoch(cells, loss_of, parameters, optimizer, settings.batch_size, rng)
                if not math.isfinite(mean):
                    raise RunError(f"VaDE: the loss is no finite number any more in epoch {epoch} of {phase}")
                if report is not None:
                    report(phase, epoch, mean)
    return network.eval()


def _rates(settings: VaDESettings) -> list[float]:
    return [settings.learning_rate * settings.decay ** (e // settings.decay_every) for e in range(settings.epochs)]


def _epoch(
    cells: Tensor,
    loss_of: Callable[[Tensor], Tensor],
    parameters: Sequence[Tensor],
    optimizer: Adam,
    batch_size: int,
    rng: np.random.Generator,
) -> float:
    """One pass over the cells in random order; the mean loss."""
    order = torch.from_numpy(rng.permutation(len(cells))).to(cells.device)
    total = torch.zeros((), device=cells.device)
    for batch in order.split(batch_size):
        loss = loss_of(cells[batch])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 10.0)
        optimizer.step()
        total += loss.detach() * len(batch)
    return float(total) / len(cells)


def _start_prior(network: VaDENetwork, scaled: FloatArray, seed: int) -> None:
    """Start from a mixture of Gaussians with diagonal covariances, fitted to the codes of the autoencoder."""
    from sklearn.mixture import GaussianMixture

    codes = encode_means(network, scaled)
    mixture = GaussianMixture(
        len(network.centres), covariance_type="diag", n_init=3, reg_covar=1e-4, random_state=seed
    ).fit(codes)
    found = (np.log(mixture.weights_), mixture.means_, np.log(mixture.covariances_))
    with torch.no_grad():
        network.log_variance.weight.zero_()
        network.log_variance.bias.copy_(torch.from_numpy(np.log(_NARROW * mixture.covariances_.mean(axis=0))))
        for parameter, values in zip((network.weights, network.centres, network.log_variances), found, strict=True):
            parameter.copy_(torch.from_numpy(values))


def encode_means(network: VaDENetwork, scaled: FloatArray) -> FloatArray:
    """Code means of cells, shape (cells, L), chunk by chunk."""
    device = network.centres.device
    found = [np.empty((0, network.centres.shape[1]), np.float32)]
    for start in range(0, len(scaled), CHUNK):
        with torch.inference_mode():
            found.append(network.encode(torch.from_numpy(scaled[start : start + CHUNK]).to(device))[0].cpu().numpy())
    return np.concatenate(found)


def posteriors(network: VaDENetwork, codes: FloatArray) -> FloatArray:
    """``p(k | z)`` of codes, shape (codes, K), chunk by chunk."""
    found = [np.empty((0, len(network.centres)), np.float32)]
    for start in range(0, len(codes), CHUNK):
        with torch.inference_mode():
            chunk = torch.from_numpy(codes[start : start + CHUNK]).to(network.centres)
            found.append(network.posterior(chunk).cpu().numpy())
    return np.concatenate(found)


def decode_codes(network: VaDENetwork, codes: FloatArray, noise: np.random.Generator | None = None) -> FloatArray:
    """Values that the decoder makes of codes, shape (codes, D), chunk by chunk.

    Parameters
    ----------
    network
        Trained.
    codes
        Shape (codes, L).
    noise
        Draws what a Gaussian likelihood leaves open; None gives the mean, which lies in [0, 1].
    """
    found = [np.empty((0, network.n_inputs), np.float32)]
    for start in range(0, len(codes), CHUNK):
        with torch.inference_mode():
            chunk = torch.from_numpy(codes[start : start + CHUNK]).to(network.centres)
            found.append(torch.sigmoid(network.decoder(chunk)).cpu().numpy())
    means = np.concatenate(found)
    if noise is None or network.likelihood == "bernoulli":
        return means
    deviations = (0.5 * network.noise.detach().clamp(min=_LEAST_NOISE)).exp().cpu().numpy()
    return np.asarray(means + deviations * noise.standard_normal(means.shape, dtype=np.float32), dtype=np.float32)


def draw_accepted(
    network: VaDENetwork, component: int, n: int, threshold: float, rng: np.random.Generator, *, most: int
) -> tuple[FloatArray, int]:
    """Draw codes of a component, rejecting those whose posterior for it is below the threshold.

    Parameters
    ----------
    network
        Holds the prior.
    component
        From 0.
    n
        Codes wanted.
    threshold
        Smallest ``p(component | z)`` that is accepted.
    rng
        Source of all randomness.
    most
        Draws after which no more are made.

    Returns
    -------
    codes, draws
        Shape (n, L), fewer where ``most`` draws did not give n; and the draws up to the last code that was taken.
    """
    centre = network.centres[component].detach().cpu().numpy()
    deviations = np.exp(0.5 * network.log_variances[component].detach().cpu().numpy())
    taken = [np.empty((0, len(centre)), np.float32)]
    missing, draws = n, 0
    while missing and draws < most:
        size = min(CHUNK, most - draws, max(1000, 2 * missing))
        codes = (centre + deviations * rng.standard_normal((size, len(centre)))).astype(np.float32)
        accepted = np.flatnonzero(posteriors(network, codes)[:, component] >= threshold)[:missing]
        taken.append(codes[accepted])
        missing -= len(accepted)
        draws += size if missing else int(accepted[-1]) + 1
    return np.concatenate(taken), draws
