"""What criteria are shown: three kinds of evidence, each holding what its name allows, no more.

Test sets are no part of any of them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.base.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from sweep.models.sites import Site
    from sweep.models.tail import Tail

    Floats = NDArray[np.float32]
    Scores = NDArray[np.float64]

_CHUNK = 1024


@dataclass(frozen=True)
class Weights:
    """No data at all.

    Attributes:
        kernels: of the convolution that makes each site's channels, (h, w, inputs, C), with batch
            normalization folded in; one per site. Without such a convolution (0, 0, 0, C).
        seed: steers whatever is random.
    """

    kernels: tuple[Floats, ...]
    seed: int

    @property
    def channels(self) -> int:
        """The number of channels of all sites together, C."""
        return sum(kernel.shape[-1] for kernel in self.kernels)


@dataclass(frozen=True)
class Cut:
    """B and where it is cut; it holds no data.

    Attributes:
        model: B.
        sites: the layers whose channels are scored, in the order of the graph.
    """

    model: Any
    sites: tuple[Site, ...]

    def tail(self, *, own: bool = False) -> Tail:
        """B behind its first site, ready to run; see `Tail`."""
        from sweep.models.tail import Tail

        return Tail(self.model, self.sites, own=own)


@dataclass(frozen=True)
class Clean(Weights):
    """Clean validation.

    Attributes:
        activations: of the first site, (n, h, w, C).
        labels: (n,).
        cut: the network that the activations run on through.
    """

    activations: Floats
    labels: NDArray[np.int64]
    cut: Cut


@dataclass(frozen=True)
class Oracle(Clean):
    """Clean and poisoned validation, which no defender has.

    Attributes:
        poisoned: activations of the first site, (m, h, w, C).
        targets: the attacker's labels, (m,).
    """

    poisoned: Floats
    targets: NDArray[np.int64]


KINDS: dict[str, type[Weights]] = {"weights": Weights, "clean": Clean, "oracle": Oracle}
"""What a criterion may declare to see, narrowest first, and what it then gets."""


def narrow(evidence: Weights, sees: str) -> Any:
    """The part of the evidence that may be seen, its arrays read-only.

    Args:
        evidence: at least as much as is asked for.
        sees: `weights`, `clean` or `oracle`.
    """
    kind = KINDS[sees]
    return kind(**{item.name: _locked(getattr(evidence, item.name)) for item in fields(kind)})


def _locked(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_locked(item) for item in value)
    if isinstance(value, np.ndarray):
        value = value.view()
        value.flags.writeable = False
    return value


def show(
    cut: Cut,
    seed: int,
    clean: tuple[Floats, NDArray[np.int64]] | None = None,
    poisoned: tuple[Floats, NDArray[np.int64]] | None = None,
) -> Weights:
    """Put evidence together: of the weights alone, of clean validation, or of both sets.

    Args:
        cut: B and its sites.
        seed: steers whatever is random.
        clean: activations of the first site and labels.
        poisoned: likewise.
    """
    kernels = _read_kernels(cut)
    if clean is None:
        return Weights(kernels, seed)
    if poisoned is None:
        return Clean(kernels, seed, *clean, cut)
    return Oracle(kernels, seed, *clean, cut, *poisoned)


def _read_kernels(cut: Cut) -> tuple[Floats, ...]:
    from sweep.models.surgery import read_kernel

    kernels = []
    for site in cut.sites:
        if site.convolution is None:
            kernels.append(np.zeros((0, 0, 0, site.channels), np.float32))
            continue
        kernel = read_kernel(cut.model.get_layer(site.convolution)).copy()
        for name in site.norms:
            norm = cut.model.get_layer(name)
            scale = 1 / np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon)
            if norm.gamma is not None:
                scale = scale * np.asarray(norm.gamma)
            kernel *= scale
        kernels.append(kernel)
    return tuple(kernels)


def filters(evidence: Weights) -> list[NDArray[np.float64]]:
    """The kernels, (h, w, inputs, C), one per site.

    Raises:
        ConfigError: the channels of a site are not made by one convolution.
    """
    if not all(kernel.size for kernel in evidence.kernels):
        raise ConfigError(
            "a criterion that looks at weights must have a layer whose channels one convolution "
            "makes. Received: a layer behind an addition or the like. Choose another layer or "
            "criterion."
        )
    return [kernel.astype(np.float64) for kernel in evidence.kernels]


def chunks(evidence: Clean, activations: Floats) -> Iterator[tuple[slice, tuple[Floats, ...]]]:
    """Go through a set of images in small parts, at every site.

    Args:
        evidence: tells the sites.
        activations: of the first site, (n, h, w, C).

    Yields:
        Which images, and each site's output for them, (b, h, w, C); later sites are computed from
        the first, and a site without positions has one.
    """
    alone = len(evidence.kernels) == 1 and activations.ndim == 4
    run = (lambda part: (part,)) if alone else evidence.cut.tail().maps
    for start in range(0, len(activations), _CHUNK):
        maps = run(activations[start : start + _CHUNK])
        where = slice(start, start + len(maps[0]))
        yield where, tuple(x if x.ndim == 4 else x[:, None, None] for x in maps)


def draw(
    activations: Floats, labels: NDArray[np.int64], images: int, seed: int
) -> tuple[Floats, NDArray[np.int64]]:
    """A random sample of images, the same whatever their order and that of the channels.

    Args:
        activations: (n, h, w, C).
        labels: (n,).
        images: how many at most.
        seed: draws them.

    Returns:
        Activations and labels of the sample, in random order.
    """
    rank = _mix(_bit_sums(activations, axis=0) ^ _mix(labels.astype(np.uint64)), seed)
    chosen = np.argsort(rank, kind="stable")[:images]
    return np.ascontiguousarray(activations[chosen]), labels[chosen]


def noise(evidence: Weights, count: int) -> Scores:
    """Uniform random numbers for each channel, drawn from the seed and the channel's own weights.

    They stay with a channel when channels change places; without weights of its own a channel has
    nothing but its place.

    Returns:
        (count, C) in 0..1.
    """
    digests = [_bit_sums(k, axis=3) if k.size else _places(k) for k in evidence.kernels]
    keys = np.concatenate([_mix(digest, i) for i, digest in enumerate(digests)])
    columns = [np.random.default_rng([evidence.seed, int(key)]).random(count) for key in keys]
    return np.stack(columns, axis=1)


def _places(kernel: Floats) -> NDArray[np.uint64]:
    return np.arange(kernel.shape[3], dtype=np.uint64)


def _bit_sums(values: Floats, axis: int) -> NDArray[np.uint64]:
    """The sum of the bits of all numbers along an axis, as integers: no order changes it."""
    values = np.moveaxis(values, axis, 0)
    return np.concatenate(
        [
            np.ascontiguousarray(values[start : start + _CHUNK], np.float32)
            .view(np.uint32)
            .sum(axis=tuple(range(1, values.ndim)), dtype=np.uint64)
            for start in range(0, len(values), _CHUNK)
        ]
    )


def _mix(values: NDArray[np.uint64], salt: int = 0) -> NDArray[np.uint64]:
    """Scatter integers (the finalizer of splitmix64)."""
    x = values + np.uint64((0x9E3779B97F4A7C15 * (salt + 1)) % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
