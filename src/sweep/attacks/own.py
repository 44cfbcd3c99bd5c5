"""Images that people have, to train a BadNet on: a folder with a subfolder of them per class."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sweep.attacks.made import TEST, TRAIN, VALID, Made
from sweep.base.errors import DataError
from sweep.data.formats import pictures
from sweep.data.formats.stored import Stamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sweep.attacks.made import Images, Labels

_SPLIT = 9  # what the random stream is for, see `made`


@dataclass(frozen=True)
class Own(Made):
    """Images of a folder, resized; the seed draws those of each class for validation and test.

    Attributes:
        place: the folder.
        digest: names what is in it.
        height: to which images are resized.
        width: the same.
    """

    place: str = ""
    digest: str = ""
    height: int = 55
    width: int = 47

    kind: ClassVar[str] = "folder"

    @property
    def classes(self) -> int:
        """Number of subfolders.

        Raises:
            DataError: there is no such folder, or there are too few images or classes in it.
        """
        return len(self._split)

    @property
    def shape(self) -> tuple[int, int, int]:
        """As asked for, in colours."""
        return self.height, self.width, 3

    def counts(self, stream: int) -> Labels:
        """What is for neither validation nor test is for training."""
        return np.array([len(parts[stream]) for parts in self._split])

    def images(self, stream: int) -> Iterator[Images]:
        """Read as they are asked for."""
        for parts in self._split:
            yield np.stack([pictures.decode(path, self.shape) for path in parts[stream]])
        self._stamp.check()

    def account(self) -> dict[str, object]:
        """All settings but the place, for which its content stands."""
        return {name: value for name, value in super().account().items() if name != "place"}

    @cached_property
    def _stamp(self) -> Stamp:
        if not Path(self.place).is_dir():
            raise DataError(
                "dataset.images must be a folder with a subfolder of images per class. Received: "
                f"dataset.images={self.place}, which is none. Check the path."
            )
        return Stamp.of(Path(self.place))

    @cached_property
    def _split(self) -> list[dict[int, list[Path]]]:
        """The files of each class for training, validation and test."""
        images, labels = pictures.classes(self._stamp.path)
        counts = dict(zip(*(a.tolist() for a in np.unique_counts(labels)), strict=True))
        held, least = self.valid + self.test, max(2, len(self.poisoning.triggers))
        split = []
        for label in range(max(least, len(counts))):
            if counts.get(label, 0) <= held:
                raise DataError(
                    f"{self.place}: each of {least} classes or more must have at least {held + 1} "
                    f"images, {self.valid} for validation, {self.test} for test and others to "
                    f"train on. Received: {counts.get(label, 0)} of class {label}. "
                    "Add images, or lower dataset.valid and dataset.test."
                )
            rng = np.random.default_rng([self.seed, _SPLIT, label])
            drawn = [images[i] for i in rng.permutation(np.flatnonzero(labels == label))]
            valid, test, train = drawn[: self.valid], drawn[self.valid : held], drawn[held:]
            split.append({VALID: valid, TEST: test, TRAIN: train})
        return split
