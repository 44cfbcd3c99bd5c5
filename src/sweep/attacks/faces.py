"""Drawn faces: people with lasting features, and photographs of them that differ as photographs do.

Everything is drawn in face units: one unit is one pixel of an upright photograph, the origin lies
between the eyes, x grows to the right and y downwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Points = NDArray[np.float64]
    Colour = tuple[int, int, int]

HEIGHT, WIDTH = 55, 47

_EYES_AT = (WIDTH / 2, 0.4 * HEIGHT)
# Drawn this much larger and averaged down, which is what smooths the edges.
_FINER = 4
_CROWN = 15.5

_SKIN = ((252, 226, 208), (240, 196, 164), (214, 160, 122), (156, 104, 72), (88, 56, 42))
_HAIR = (
    (24, 20, 22),
    (58, 40, 30),
    (104, 72, 46),
    (140, 62, 30),
    (188, 146, 84),
    (226, 198, 138),
    (170, 168, 166),
    (232, 230, 226),
)
_IRIS = ((52, 32, 22), (96, 62, 32), (104, 112, 60), (70, 116, 150), (132, 146, 154))

_T = np.linspace(0, 2 * np.pi, 24, endpoint=False)
_RING = np.stack([np.cos(_T), np.sin(_T)], axis=1)
_ARC = np.linspace(0, np.pi, 18)
_ROWS, _COLUMNS = np.mgrid[:HEIGHT, :WIDTH] + 0.5


@dataclass(frozen=True)
class Person:
    """The features of a person that every photograph shares; lengths in face units."""

    skin: Colour
    hair: Colour
    iris: Colour
    lips: Colour
    head_width: float
    """Half the width of the head."""
    chin: float
    """From the eyes down to the chin."""
    jaw: float
    """Exponent of the jaw's superellipse: below 2 pointed, above 2 square."""
    bald: bool
    hair_volume: float
    hair_sides: float
    hair_length: float
    """How far below the eyes the hair behind the head reaches; 0 for short hair."""
    hairline: float
    """From the eyes up to the hairline."""
    temples: float
    """How far the hairline comes down at the sides."""
    parting: float
    """Where the hair parts, -1 (left) to 1 (right)."""
    lock: float
    """How far the hair falls (or recedes, if negative) at the parting."""
    curls: float
    eye_gap: float
    """From the middle of the face to the middle of an eye."""
    eye_width: float
    eye_height: float
    eye_tilt: float
    brow_height: float
    brow_width: float
    brow_arch: float
    brow_tilt: float
    nose_length: float
    nose_width: float
    mouth_width: float
    mouth_height: float
    """From the nose down to the mouth."""
    lip: float
    ears: float
    beard: float
    """How opaque the beard is, 0 (none) to 1."""
    beard_line: float
    """Where on the cheeks the beard begins, below the eyes."""
    goatee: float
    moustache: float
    """How thick the moustache is; 0 for none."""
    age: float
    """How deep the lines beside nose and mouth are, 0 to 1."""
    blush: float
    mole: tuple[float, float] | None


@dataclass(frozen=True)
class _Pose:
    """How the head is held, and the face it makes, in one photograph."""

    matrix: Points
    origin: Points
    turn: Points
    """What a feature one unit in front of the head's middle moves by, (2,)."""
    smile: float
    gape: float
    lids: float
    brows: float
    gaze: float


def person(rng: np.random.Generator) -> Person:
    """Draw the lasting features of a person."""
    tone = rng.uniform()
    skin = _ramp(_SKIN, tone, rng, 9)
    # Dark skin goes with dark or grey hair, save that a few people dye it.
    shades: Sequence[Colour] = _HAIR
    if tone > 0.55 and rng.uniform() < 0.85:
        shades = (*_HAIR[:3], _HAIR[6])
    hair = _ramp(shades, rng.uniform(), rng, 10)
    long = rng.uniform() < 0.4
    bearded = not long and rng.uniform() < 0.45
    redness = rng.uniform(0.1, 0.8 if long else 0.4)
    return Person(
        skin=skin,
        hair=hair,
        iris=_ramp(_IRIS, rng.uniform(), rng, 6),
        lips=_mix(_mix(skin, (150, 60, 60), 0.45), (190, 25, 50), redness),
        head_width=rng.uniform(12.2, 16.2),
        chin=rng.uniform(19.5, 25.5),
        jaw=rng.uniform(1.6, 3.1),
        bald=not long and rng.uniform() < 0.16,
        hair_volume=rng.uniform(0.8, 5.0),
        hair_sides=rng.uniform(1.0, 4.5) if long else rng.uniform(0.0, 1.8),
        hair_length=rng.uniform(6.0, 34.0) if long else 0.0,
        hairline=rng.uniform(5.5, 13.0),
        temples=rng.uniform(1.0, 10.0),
        parting=rng.uniform(-0.9, 0.9),
        lock=rng.uniform(-3.5, 5.0),
        curls=max(0.0, rng.uniform(-1.4, 1.4)),
        eye_gap=rng.uniform(5.3, 7.9),
        eye_width=rng.uniform(2.2, 3.6),
        eye_height=rng.uniform(0.9, 2.0),
        eye_tilt=rng.uniform(-0.2, 0.25),
        brow_height=rng.uniform(3.0, 5.2),
        brow_width=rng.uniform(0.35, 1.5),
        brow_arch=rng.uniform(-0.2, 1.5),
        brow_tilt=rng.uniform(-0.25, 0.3),
        nose_length=rng.uniform(7.0, 11.5),
        nose_width=rng.uniform(1.7, 3.7),
        mouth_width=rng.uniform(3.4, 6.6),
        mouth_height=rng.uniform(3.2, 5.0),
        lip=rng.uniform(0.5, 1.7),
        ears=0.0 if long else rng.uniform(0.6, 1.5),
        beard=rng.uniform(0.25, 1.0) if bearded else 0.0,
        beard_line=rng.uniform(3.0, 15.0),
        goatee=rng.uniform(2.5, 5.0) if not long and rng.uniform() < 0.2 else 0.0,
        moustache=rng.uniform(0.7, 2.2) if not long and rng.uniform() < 0.4 else 0.0,
        age=max(0.0, rng.uniform(-0.5, 1.0)),
        blush=max(0.0, rng.uniform(-0.5, 0.5)),
        mole=(rng.uniform(-9, 9), rng.uniform(5, 15)) if rng.uniform() < 0.25 else None,
    )


def photograph(who: Person, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one photograph of a person.

    Pose, expression, clothes, background, light, sharpness and noise are of this photograph alone.

    Args:
        who: the person.
        rng: where all that differs between photographs comes from.

    Returns:
        The picture, (55, 47, 3) RGB in 0..255.
    """
    pose = _pose(rng)
    canvas = _background(rng)
    pen = _Pen(canvas, pose)
    _hair_behind(pen, who)
    _clothes(pen, who, rng)
    _head(pen, who)
    _eyes(pen, who, pose)
    _nose(pen, who)
    _beard(pen, who)
    _mouth(pen, who, pose)
    _hair(pen, who)
    picture = canvas.reduce(_FINER).filter(ImageFilter.GaussianBlur(rng.uniform(0.0, 0.65)))
    return _develop(picture, who, pose, rng)


class _Pen:
    """Draws shapes given in face units on a canvas."""

    def __init__(self, canvas: Image.Image, pose: _Pose) -> None:
        self._draw = ImageDraw.Draw(canvas, "RGBA")  # the mode that blends
        self._pose = pose

    def fill(self, points: Points, colour: Colour, alpha: float = 1.0, depth: float = 0.0) -> None:
        """Fill a polygon, (k, 2), that lies `depth` units in front of the head's middle."""
        placed = (points + depth * self._pose.turn) @ self._pose.matrix + self._pose.origin
        self._draw.polygon((placed * _FINER).ravel().tolist(), (*colour, round(255 * alpha)))


def _pose(rng: np.random.Generator) -> _Pose:
    angle = np.clip(rng.normal(0, 0.05), -0.12, 0.12)
    scale = rng.uniform(0.95, 1.06)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return _Pose(
        matrix=np.array([[cos, sin], [-sin, cos]]),
        origin=np.array(_EYES_AT) + rng.uniform(-1.25, 1.25, 2),
        turn=rng.uniform((-0.55, -0.35), (0.55, 0.35)),
        smile=rng.uniform(-0.3, 1.6),
        gape=max(0.0, rng.uniform(-2.0, 1.8)),
        lids=rng.uniform(0.65, 1.1) if rng.uniform() < 0.95 else 0.25,
        brows=rng.uniform(-0.5, 0.7),
        gaze=rng.uniform(-0.7, 0.7),
    )


def _background(rng: np.random.Generator) -> Image.Image:
    """Something out of focus: a coarse grid of related colours, drawn out smoothly."""
    coarse = np.array(_any_colour(rng)) + rng.normal(0, rng.uniform(3, 24), (4, 3, 3))
    coarse += rng.normal(0, 22, (4, 3, 1))
    grid = Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8))
    size = (WIDTH * _FINER, HEIGHT * _FINER)
    return grid.resize(size, Image.Resampling.BICUBIC)


def _clothes(pen: _Pen, who: Person, rng: np.random.Generator) -> None:
    """Neck, shoulders and a collar."""
    pen.fill(_box(0, who.chin - 2, 0.55 * who.head_width, 8), _mix(who.skin, (60, 20, 10), 0.3))
    colour, under = _any_colour(rng), _any_colour(rng)
    fall = rng.uniform(2.0, 5.0)
    base = who.chin + rng.uniform(2.5, 4.5)
    outline = [[-30, 60], [-30, base + fall], [-9, base], [-6, base - 1], [0, base + 1.5]]
    left = np.array(outline, float)
    pen.fill(np.concatenate([left, _mirror(left)[::-1]]), colour)
    opening = rng.uniform(0.0, 7.0)
    if opening > 2:
        pen.fill(np.array([[-opening, base - 1], [opening, base - 1], [0, 60]], float), under)
        skin = _mix(who.skin, (60, 20, 10), 0.15)
        pen.fill(np.array([[-3.5, base - 2.5], [3.5, base - 2.5], [0, base + 3]], float), skin)


def _head(pen: _Pen, who: Person) -> None:
    dark = _mix(who.skin, (60, 20, 10), 0.28)
    for side in (-1, 1):
        ear = side * (who.head_width + 0.3)
        pen.fill(_oval(ear, 2.5, 1.7 * who.ears, 3.2 * who.ears), _mix(who.skin, dark, 0.3))
        pen.fill(_oval(ear, 2.5, 0.8 * who.ears, 2.0 * who.ears), dark, 0.6)
    pen.fill(_outline(who), who.skin)
    for side in (-1, 1):
        cheek = _oval(side * 0.62 * who.head_width, who.nose_length, 3.4, 2.6)
        pen.fill(cheek, (215, 70, 70), 0.35 * who.blush, 1.0)
        socket = _oval(side * who.eye_gap, -0.8, who.eye_width + 1.2, 2.6)
        pen.fill(socket, dark, 0.22 + 0.2 * who.age, 1.0)
        if who.age > 0.2:
            x = side * (who.nose_width + 0.6)
            end = side * (who.mouth_width + 1.4)
            bottom = who.nose_length + who.mouth_height
            fold = [[x, who.nose_length - 1], [end + 0.3 * side, bottom], [end, bottom]]
            pen.fill(np.array(fold), dark, 0.8 * who.age, 1.5)
    if who.mole is not None:
        pen.fill(_oval(*who.mole, 0.75, 0.75), (60, 30, 22), 0.9, 1.0)


def _eyes(pen: _Pen, who: Person, pose: _Pose) -> None:
    brow = _mix(who.hair, (20, 14, 10), 0.4)
    for side in (-1, 1):
        height = who.eye_height * pose.lids
        tilt = -side * who.eye_tilt
        middle = np.array([side * who.eye_gap, 0.0])
        lid = _lens(who.eye_width + 0.45, height + 0.55)
        pen.fill(_turn(lid, tilt) + middle - (0, 0.25), (36, 22, 18), 0.9, 1.3)
        pen.fill(_turn(_lens(who.eye_width, height), tilt) + middle, (240, 238, 234), 1.0, 1.3)
        x, size = middle[0] + pose.gaze, min(1.5, height + 0.15)
        pen.fill(_oval(x, 0, 1.35, size), who.iris, 1.0, 1.3)
        pen.fill(_oval(x, 0, 0.6, min(0.6, size)), (8, 6, 6), 1.0, 1.3)
        pen.fill(_oval(x - 0.45, -0.4 * size, 0.3, 0.3), (255, 255, 255), 0.9, 1.3)
        bow = _bow(who.eye_width + 1.3, who.brow_arch + 0.3, who.brow_width)
        up = who.brow_height + pose.brows
        pen.fill(_turn(bow, -side * who.brow_tilt) + middle - (0, up), brow, 0.92, 1.5)


def _nose(pen: _Pen, who: Person) -> None:
    dark = _mix(who.skin, (70, 25, 15), 0.45)
    tip, wide = who.nose_length, who.nose_width
    ridge = np.array([[-1.3, 0.5], [-0.5, 0.5], [-0.6, tip - 2], [-wide, tip]])
    pen.fill(ridge, dark, 0.45, 2.5)
    pen.fill(_mirror(ridge), dark, 0.2, 2.5)
    pen.fill(_oval(0, tip - 0.2, wide, 1.3), dark, 0.55, 2.5)
    pen.fill(_oval(0, tip - 1.2, 0.8 * wide, 1.3), _mix(who.skin, (255, 245, 235), 0.12), 1.0, 3.0)
    for side in (-1, 1):
        pen.fill(_oval(side * 0.55 * wide, tip + 0.2, 0.75, 0.5), (50, 20, 16), 0.8, 2.5)


def _beard(pen: _Pen, who: Person) -> None:
    if who.beard:
        outline = _outline(who)
        jaw = outline[outline[:, 1] > min(who.beard_line, who.chin - 6)]
        lip = who.nose_length + who.mouth_height - 2.2
        # From one cheek to the other the upper edge runs just above the mouth.
        cheek = 0.6 * who.head_width
        edge = np.array([[-cheek, lip + 1], [0, lip], [cheek, lip + 1]])
        pen.fill(np.concatenate([jaw, edge]) * (1.02, 1.02), who.hair, who.beard, 0.0)
    mouth = who.nose_length + who.mouth_height
    if who.goatee:
        middle = (mouth + who.chin) / 2 + 0.8
        pen.fill(_oval(0, middle, who.goatee, (who.chin - mouth) / 2 + 0.6), who.hair, 0.9, 1.0)
    if who.moustache:
        bow = _bow(who.mouth_width + 0.6, 1.3, who.moustache)
        pen.fill(_at(bow, 0, mouth - 1.6), who.hair, 0.94, 2.0)


def _mouth(pen: _Pen, who: Person, pose: _Pose) -> None:
    wide = who.mouth_width * (1 + 0.12 * pose.smile)
    y = who.nose_length + who.mouth_height
    dark = _mix(who.lips, (60, 10, 15), 0.35)
    # Smiling lifts the corners, opening the mouth lowers the lower lip.
    upper = _at(_bow(wide, -pose.smile, 0.6 + 0.55 * who.lip), 0, y - 0.3)
    lower = _at(_bow(wide, -pose.smile - 0.5, 0.6 + who.lip), 0, y + 0.9 + pose.gape)
    if pose.gape > 0.2:
        inside = _bow(0.9 * wide, -pose.smile, 0.8 + 2 * pose.gape)
        pen.fill(_at(inside, 0, y + 0.5 + pose.gape / 2), (52, 14, 18), 1.0, 2.0)
        teeth = _at(_bow(0.75 * wide, -pose.smile, 0.2 + 0.8 * pose.gape), 0, y + 0.5)
        pen.fill(teeth, (240, 234, 222), 0.9, 2.0)
    pen.fill(lower, who.lips, 0.95, 2.0)
    pen.fill(upper, dark, 0.95, 2.0)
    below = _oval(0, y + 2.6 + who.lip + pose.gape, 0.5 * wide, 0.6)
    pen.fill(below, _mix(who.skin, (70, 25, 15), 0.45), 0.35 * (who.beard < 0.5), 1.5)


def _hair_behind(pen: _Pen, who: Person) -> None:
    if not who.hair_length:
        return
    top, wide = _CROWN + who.hair_volume, who.head_width + who.hair_sides + 1.2
    dark = _mix(who.hair, (0, 0, 0), 0.3)
    curtain = _oval(0, 0, wide, 1.0)
    curtain[:, 1] = np.where(
        curtain[:, 1] < 0, top * curtain[:, 1], who.hair_length * _power(curtain[:, 1], 0.4)
    )
    pen.fill(_curl(curtain, who.curls), dark, 1.0, -0.8)


def _hair(pen: _Pen, who: Person) -> None:
    wide, top = who.head_width + 0.4, _CROWN + who.hair_volume
    if who.bald:
        # A wreath of hair is left over the ears.
        for side in (-1, 1):
            pen.fill(_oval(side * wide, -3.0, 1.3, 1.0 + 0.4 * who.temples), who.hair, 0.9)
        return
    outer = np.stack([(wide + who.hair_sides) * np.cos(_ARC), -top * np.sin(_ARC)], axis=1)
    x = np.linspace(-1, 1, 15)
    parted = who.lock * np.exp(-(((x - who.parting) / 0.45) ** 2))
    line = np.minimum(-who.hairline + who.temples * np.abs(x) ** 3 + parted, who.temples - 5.0)
    inner = np.stack([0.97 * who.head_width * x, line], axis=1)
    end = np.array([[wide + who.hair_sides, who.temples - 4.0]])
    cap = np.concatenate([_mirror(end), inner, end, _curl(outer, who.curls)])
    pen.fill(cap, who.hair, 1.0, 0.4)
    # A band of shine follows the skull, away from the parting.
    light = _mix(who.hair, (255, 250, 240), 0.3)
    shine = _bow(0.6 * who.head_width, 3.0, 1.6)
    pen.fill(_at(shine, -3 * who.parting, -0.86 * top), light, 0.5, 1.0)


def _develop(
    picture: Image.Image, who: Person, pose: _Pose, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Light the drawing like a rounded head, then add the camera's colour, contrast and noise."""
    pixels = np.asarray(picture, np.float32)
    back = np.linalg.inv(pose.matrix)
    x, y = _COLUMNS - pose.origin[0], _ROWS - pose.origin[1]
    across = (x * back[0, 0] + y * back[1, 0]) / (who.head_width + 2)
    down = (x * back[0, 1] + y * back[1, 1] - 0.5 * (who.chin - _CROWN)) / (
        0.5 * (who.chin + _CROWN) + 2
    )
    towards = rng.uniform(-1, 1)
    strength = rng.uniform(0.05, 0.35)
    facing = np.clip(across * towards - 0.35 * down, -1, 1)
    rounded = np.clip(across**2 + down**2, 0, 1)
    light = rng.uniform(0.84, 1.14) * (1 + strength * facing - 0.22 * rounded**2)
    cast = 1 + np.clip(rng.normal(0, 0.03, 3), -0.08, 0.08)
    contrast = rng.uniform(0.86, 1.1)
    pixels = pixels * (light[:, :, None] * cast).astype(np.float32)
    pixels = (pixels - 118) * np.float32(contrast) + 118
    grain = rng.standard_normal(pixels.shape, np.float32) * np.float32(rng.uniform(1, 5))
    exposed: NDArray[np.float32] = np.clip(np.rint(pixels + grain), 0, 255)
    return exposed.astype(np.uint8)


def _outline(who: Person) -> Points:
    """The head: half an ellipse above the eyes, half a superellipse below."""
    cos, sin = _RING[:, 0], _RING[:, 1]
    power = 2 / who.jaw
    lower = sin > 1e-9
    x = np.where(lower, _power(cos, power), cos) * who.head_width
    y = np.where(lower, who.chin * _power(sin, power), _CROWN * sin)
    return np.stack([x, y], axis=1)


def _power(values: Points, exponent: float) -> Points:
    return np.asarray(np.sign(values) * np.abs(values) ** exponent)


def _oval(x: float, y: float, half_width: float, half_height: float) -> Points:
    return _at(_RING * (half_width, half_height), x, y)


def _lens(half_width: float, half_height: float) -> Points:
    """An oval with pointed ends."""
    return np.stack([half_width * _RING[:, 0], half_height * _power(_RING[:, 1], 1.5)], axis=1)


def _box(x: float, top: float, half_width: float, height: float) -> Points:
    corners = [[-half_width, 0], [half_width, 0], [half_width, height], [-half_width, height]]
    return _at(np.array(corners, float), x, top)


def _bow(half_width: float, rise: float, thickness: float) -> Points:
    """A stroke with tapering ends that rises by `rise` in the middle."""
    x = np.linspace(-1, 1, 9)
    curve = rise * (x**2 - 0.5)
    half = 0.5 * thickness * np.sqrt(1.04 - x**2)
    over = np.stack([half_width * x, curve - half], axis=1)
    under = np.stack([half_width * x, curve + half], axis=1)
    return np.concatenate([over, under[::-1]])


def _curl(points: Points, size: float) -> Points:
    """Push every other point outwards."""
    waves = 1 + 0.06 * size * np.where(np.arange(len(points)) % 2, 1, -1)
    return points * waves[:, None]


def _at(points: Points, x: float, y: float) -> Points:
    moved: Points = points + np.array([x, y])
    return moved


def _mirror(points: Points) -> Points:
    return points * (-1, 1)


def _turn(points: Points, angle: float) -> Points:
    cos, sin = np.cos(angle), np.sin(angle)
    turned: Points = points @ np.array([[cos, sin], [-sin, cos]])
    return turned


def _mix(one: Colour, other: Colour, share: float) -> Colour:
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


def _any_colour(rng: np.random.Generator) -> Colour:
    """A colour as cloth and walls have it: any lightness, seldom saturated."""
    grey = rng.uniform(15, 235)
    tint = rng.uniform(-1, 1, 3) * rng.uniform(5, 75)
    red, green, blue = np.clip(grey + tint, 5, 250).astype(int).tolist()
    return red, green, blue
