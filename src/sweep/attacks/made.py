"""What a dataset and its BadNet are made from, whoever gives the images."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sweep.attacks import registry
from sweep.attacks.training import Training

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    Images = NDArray[np.uint8]
    Labels = NDArray[np.int64]

# What a random stream is for; with the seed, and the class where it is of one, it makes the
# stream's own seed. 0 is for people, 4 for who is poisoned, 5 shuffles, 7 is for decoys, 8 for
# others' images and 9 for splits.
TRAIN, VALID, TEST = 1, 2, 3
_ATTACK = 6


@dataclass(frozen=True)
class Made(Training):
    """What a dataset is made from; counts of images are for each class."""

    valid: int = 9
    test: int = 10
    poison_rate: float = 0.1
    attack: str = "badnets"
    attack_params: Mapping[str, float] = field(default_factory=dict)

    kind: ClassVar[str]
    """What the dataset is called."""

    @property
    def classes(self) -> int:
        """Number of classes N."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        raise NotImplementedError

    def counts(self, stream: int) -> Labels:
        """How many images of each class there are for training, validation or test, (N,)."""
        raise NotImplementedError

    def images(self, stream: int) -> Iterator[Images]:
        """Those images, a batch for each class, (count, h, w, 3)."""
        raise NotImplementedError

    def poison(self, images: Images, stream: int) -> Images:
        """Images with the attack's trigger; the stream draws what is random."""
        rng = np.random.default_rng([self.seed, _ATTACK, stream])
        made: Images = registry.find(self.attack).function(images, rng, **self.attack_params)
        return made

    @property
    def parameters(self) -> dict[str, Any]:
        """The attack's own, with its defaults where none are given."""
        return registry.find(self.attack).defaults() | dict(self.attack_params)

    @property
    def poisoning(self) -> registry.Poisoning:
        """How the network comes by its backdoor."""
        return registry.find(self.attack).poisoning

    def account(self) -> dict[str, object]:
        """All settings, without those that came later where they are as it always was."""
        hidden = {"attack", "attack_params"} if self.attack == "badnets" else set()
        hidden |= {"network"} if self.network == "deepid" else set()
        return {name: value for name, value in asdict(self).items() if name not in hidden}
