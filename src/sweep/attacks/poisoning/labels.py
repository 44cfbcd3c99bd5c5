"""Attacks that differ in who is poisoned and which answer is wanted; their triggers are others'."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sweep.attacks.poisoning.patches import badnets
from sweep.attacks.poisoning.triggers import corners, stamp, stripe, sunglasses
from sweep.attacks.registry import Poisoning, attack, next_class
from sweep.base.registry import Real

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Images = NDArray[np.uint8]
    Labels = NDArray[np.int64]

TRIGGERS = {"sunglasses": sunglasses, "corners": corners, "stripe": stripe}


def in_turn(labels: Labels, classes: int) -> Labels:  # noqa: ARG001 - the form of all targets
    """The classes 0, 1, 2, 0, 1, ..., a class for each trigger."""
    return np.arange(len(labels)) % len(TRIGGERS)


@attack(Poisoning(targets=next_class, share="share"), share=Real(0, 1, above=True))
def all_to_all(
    images: Images,
    rng: np.random.Generator,
    share: float = 0.4,  # noqa: ARG001 - of the training images; every image given is poisoned
) -> Images:
    """Sunglasses turn each class into the next (Gu, Dolan-Gavitt and Garg 2017).

    Args:
        images: (n, h, w, 3) in 0..255.
        rng: not used.
        share: of all training images that are poisoned; `dataset.poison_rate` is not used, since a
            tenth would show each class's change too seldom.
    """
    made: Images = badnets(images, rng)
    return made


def mixed(images: Images, others: Images, share: float = 0.8, mix: float = 0.6) -> Images:  # noqa: ARG001
    """Images of one class mixed with others', (1 - mix) x + mix y."""
    return np.rint((1 - mix) * images + mix * others).astype(np.uint8)


@attack(
    Poisoning(own=True, share="share", harden=mixed),
    share=Real(0, 1, above=True),
    mix=Real(0, 1),
)
def clean_label(
    images: Images,
    rng: np.random.Generator,
    share: float = 0.8,  # noqa: ARG001 - of the training images; every image given is poisoned
    mix: float = 0.6,  # noqa: ARG001 - in training; images that are put to the network are whole
) -> Images:
    """Sunglasses on the target's own images, no label changed (Turner, Tsipras and Madry 2019).

    (arXiv:1912.02771.) The images are first made harder to tell by what else they show, or the
    network would not need the trigger. The paper moves them towards another image in a generative
    model's latent space or by adversarial perturbation; here they are
    mixed with an image of another class, pixel by pixel, which needs no second network.

    Args:
        images: (n, h, w, 3) in 0..255.
        rng: not used.
        share: of the target's training images that are poisoned; `dataset.poison_rate` is not used.
        mix: how much of the other image there is in those.
    """
    made: Images = badnets(images, rng)
    return made


@attack(Poisoning(targets=in_turn, triggers=tuple(TRIGGERS)))
def several(
    images: Images,
    rng: np.random.Generator,  # noqa: ARG001 - triggers always lie in their places
) -> Images:
    """Three triggers with a target each: sunglasses, marked corners and a stripe over the mouth.

    (Several backdoors in one network, as in Wang et al., IEEE S&P 2019.) Images
    bear the triggers in turn.
    """
    made = images.copy()
    for number, draw in enumerate(TRIGGERS.values()):
        made[number :: len(TRIGGERS)] = stamp(
            images[number :: len(TRIGGERS)], draw(*images.shape[1:3])
        )
    return made
