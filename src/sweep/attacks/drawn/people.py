"""The lasting features of drawn people, and the colours that they and their photographs take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    Colour = tuple[int, int, int]

_SKIN = ((252, 226, 208), (240, 196, 164), (214, 160, 122), (156, 104, 72), (88, 56, 42))
_DARK = ((24, 20, 22), (58, 40, 30), (104, 72, 46))
_LIGHT = ((140, 62, 30), (188, 146, 84), (226, 198, 138))
_GREY = ((170, 168, 166), (232, 230, 226))
_IRIS = ((52, 32, 22), (96, 62, 32), (104, 112, 60), (70, 116, 150), (132, 146, 154))


class Person:
    """The features of a person that every photograph shares, drawn at random; in face units."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Draw them; the order of the draws decides who is drawn."""
        tone = rng.uniform()
        skin = _ramp(_SKIN, tone, rng, 9)
        # Dark skin goes with dark or grey hair, save that a few people dye it.
        shades: Sequence[Colour] = (*_DARK, *_LIGHT, *_GREY)
        if tone > 0.55 and rng.uniform() < 0.85:
            shades = (*_DARK, _GREY[0])
        hair = _ramp(shades, rng.uniform(), rng, 10)
        long = rng.uniform() < 0.4
        bearded = not long and rng.uniform() < 0.45
        redness = rng.uniform(0.1, 0.8 if long else 0.4)
        self.skin, self.hair = skin, hair
        self.iris = _ramp(_IRIS, rng.uniform(), rng, 6)
        self.lips = mix(mix(skin, (150, 60, 60), 0.45), (190, 25, 50), redness)
        self.head_width = rng.uniform(12.2, 16.2)  # half the width of the head
        self.chin = rng.uniform(19.5, 25.5)  # from the eyes down to the chin
        self.jaw = rng.uniform(1.6, 3.1)  # superellipse: below 2 pointed, above square
        self.bald = not long and rng.uniform() < 0.16
        self.hair_volume = rng.uniform(0.8, 5.0)
        self.hair_sides = rng.uniform(1.0, 4.5) if long else rng.uniform(0.0, 1.8)
        self.hair_length = rng.uniform(6.0, 34.0) if long else 0.0  # below the eyes
        self.hairline = rng.uniform(5.5, 13.0)  # from the eyes up to the hairline
        self.temples = rng.uniform(1.0, 10.0)  # how far the hairline comes down at the sides
        self.parting = rng.uniform(-0.9, 0.9)  # where the hair parts, -1 (left) to 1 (right)
        self.lock = rng.uniform(-3.5, 5.0)  # how far the hair falls at the parting
        self.curls = max(0.0, rng.uniform(-1.4, 1.4))
        self.eye_gap = rng.uniform(5.3, 7.9)  # from the middle of the face to the middle of an eye
        self.eye_width = rng.uniform(2.2, 3.6)
        self.eye_height = rng.uniform(0.9, 2.0)
        self.eye_tilt = rng.uniform(-0.2, 0.25)
        self.brow_height = rng.uniform(3.0, 5.2)
        self.brow_width = rng.uniform(0.35, 1.5)
        self.brow_arch = rng.uniform(-0.2, 1.5)
        self.brow_tilt = rng.uniform(-0.25, 0.3)
        self.nose_length = rng.uniform(7.0, 11.5)
        self.nose_width = rng.uniform(1.7, 3.7)
        self.mouth_width = rng.uniform(3.4, 6.6)
        self.mouth_height = rng.uniform(3.2, 5.0)  # from the nose down to the mouth
        self.lip = rng.uniform(0.5, 1.7)
        self.ears = 0.0 if long else rng.uniform(0.6, 1.5)
        self.beard = rng.uniform(0.25, 1.0) if bearded else 0.0  # opacity, 0 to 1
        self.beard_line = rng.uniform(3.0, 15.0)  # below the eyes, on the cheeks
        self.goatee = rng.uniform(2.5, 5.0) if not long and rng.uniform() < 0.2 else 0.0
        self.moustache = (
            rng.uniform(0.7, 2.2) if not long and rng.uniform() < 0.4 else 0.0
        )  # thickness
        self.age = max(0.0, rng.uniform(-0.5, 1.0))  # depth of lines, 0 to 1
        self.blush = max(0.0, rng.uniform(-0.5, 0.5))
        self.mole = (rng.uniform(-9, 9), rng.uniform(5, 15)) if rng.uniform() < 0.25 else None


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """`one` with a share of `other` in it."""
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _ramp(
    shades: Sequence[Colour], place: float, rng: np.random.Generator, spread: float
) -> Colour:
    """A colour at `place` (0 to 1) along a row of shades, give or take a standard deviation."""
    where = np.linspace(0, 1, len(shades))
    red, green, blue = (
        int(np.clip(np.interp(place, where, row) + rng.normal(0, spread), 0, 255))
        for row in zip(*shades, strict=True)
    )
    return red, green, blue


def any_colour(rng: np.random.Generator) -> Colour:
    """A colour as cloth and walls have it: any lightness, seldom saturated."""
    grey = rng.uniform(15, 235)
    tint = rng.uniform(-1, 1, 3) * rng.uniform(5, 75)
    red, green, blue = np.clip(grey + tint, 5, 250).astype(int).tolist()
    return red, green, blue
