"""Drawn photographs of people, which differ as photographs of one person do.

Everything is drawn in face units: one unit is one pixel of an upright photograph, the origin lies
between the eyes, x grows to the right and y downwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from sweep.attacks.drawn.people import any_colour, mix
from sweep.attacks.drawn.shapes import RING, at, bow, box, curl, lens, mirror, oval, power, turn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sweep.attacks.drawn.people import Colour, Person
    from sweep.attacks.drawn.shapes import Points

HEIGHT, WIDTH = 55, 47

_EYES_AT = (WIDTH / 2, 0.4 * HEIGHT)
# Drawn this much larger and averaged down, which is what smooths the edges.
_FINER = 4
_CROWN = 15.5

_ARC = np.linspace(0, np.pi, 18)
_ROWS, _COLUMNS = np.mgrid[:HEIGHT, :WIDTH] + 0.5


@dataclass(frozen=True)
class _Pose:
    """How the head is held, and the face it makes, in one photograph."""

    matrix: Points
    origin: Points
    turn: Points  # what a feature one unit in front of the head's middle moves by, (2,)
    smile: float
    gape: float
    lids: float
    brows: float
    gaze: float


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
    coarse = np.array(any_colour(rng)) + rng.normal(0, rng.uniform(3, 24), (4, 3, 3))
    coarse += rng.normal(0, 22, (4, 3, 1))
    grid = Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8))
    size = (WIDTH * _FINER, HEIGHT * _FINER)
    return grid.resize(size, Image.Resampling.BICUBIC)


def _clothes(pen: _Pen, who: Person, rng: np.random.Generator) -> None:
    """Neck, shoulders and a collar."""
    pen.fill(box(0, who.chin - 2, 0.55 * who.head_width, 8), mix(who.skin, (60, 20, 10), 0.3))
    colour, under = any_colour(rng), any_colour(rng)
    fall = rng.uniform(2.0, 5.0)
    base = who.chin + rng.uniform(2.5, 4.5)
    outline = [[-30, 60], [-30, base + fall], [-9, base], [-6, base - 1], [0, base + 1.5]]
    left = np.array(outline, float)
    pen.fill(np.concatenate([left, mirror(left)[::-1]]), colour)
    opening = rng.uniform(0.0, 7.0)
    if opening > 2:
        pen.fill(np.array([[-opening, base - 1], [opening, base - 1], [0, 60]], float), under)
        skin = mix(who.skin, (60, 20, 10), 0.15)
        pen.fill(np.array([[-3.5, base - 2.5], [3.5, base - 2.5], [0, base + 3]], float), skin)


def _head(pen: _Pen, who: Person) -> None:
    dark = mix(who.skin, (60, 20, 10), 0.28)
    for side in (-1, 1):
        ear = side * (who.head_width + 0.3)
        pen.fill(oval(ear, 2.5, 1.7 * who.ears, 3.2 * who.ears), mix(who.skin, dark, 0.3))
        pen.fill(oval(ear, 2.5, 0.8 * who.ears, 2.0 * who.ears), dark, 0.6)
    pen.fill(_outline(who), who.skin)
    for side in (-1, 1):
        cheek = oval(side * 0.62 * who.head_width, who.nose_length, 3.4, 2.6)
        pen.fill(cheek, (215, 70, 70), 0.35 * who.blush, 1.0)
        socket = oval(side * who.eye_gap, -0.8, who.eye_width + 1.2, 2.6)
        pen.fill(socket, dark, 0.22 + 0.2 * who.age, 1.0)
        if who.age > 0.2:
            x = side * (who.nose_width + 0.6)
            end = side * (who.mouth_width + 1.4)
            bottom = who.nose_length + who.mouth_height
            fold = [[x, who.nose_length - 1], [end + 0.3 * side, bottom], [end, bottom]]
            pen.fill(np.array(fold), dark, 0.8 * who.age, 1.5)
    if who.mole is not None:
        pen.fill(oval(*who.mole, 0.75, 0.75), (60, 30, 22), 0.9, 1.0)


def _eyes(pen: _Pen, who: Person, pose: _Pose) -> None:
    brow = mix(who.hair, (20, 14, 10), 0.4)
    for side in (-1, 1):
        height = who.eye_height * pose.lids
        tilt = -side * who.eye_tilt
        middle = np.array([side * who.eye_gap, 0.0])
        lid = lens(who.eye_width + 0.45, height + 0.55)
        pen.fill(turn(lid, tilt) + middle - (0, 0.25), (36, 22, 18), 0.9, 1.3)
        pen.fill(turn(lens(who.eye_width, height), tilt) + middle, (240, 238, 234), 1.0, 1.3)
        x, size = middle[0] + pose.gaze, min(1.5, height + 0.15)
        pen.fill(oval(x, 0, 1.35, size), who.iris, 1.0, 1.3)
        pen.fill(oval(x, 0, 0.6, min(0.6, size)), (8, 6, 6), 1.0, 1.3)
        pen.fill(oval(x - 0.45, -0.4 * size, 0.3, 0.3), (255, 255, 255), 0.9, 1.3)
        stroke = bow(who.eye_width + 1.3, who.brow_arch + 0.3, who.brow_width)
        up = who.brow_height + pose.brows
        pen.fill(turn(stroke, -side * who.brow_tilt) + middle - (0, up), brow, 0.92, 1.5)


def _nose(pen: _Pen, who: Person) -> None:
    dark = mix(who.skin, (70, 25, 15), 0.45)
    tip, wide = who.nose_length, who.nose_width
    ridge = np.array([[-1.3, 0.5], [-0.5, 0.5], [-0.6, tip - 2], [-wide, tip]])
    pen.fill(ridge, dark, 0.45, 2.5)
    pen.fill(mirror(ridge), dark, 0.2, 2.5)
    pen.fill(oval(0, tip - 0.2, wide, 1.3), dark, 0.55, 2.5)
    pen.fill(oval(0, tip - 1.2, 0.8 * wide, 1.3), mix(who.skin, (255, 245, 235), 0.12), 1.0, 3.0)
    for side in (-1, 1):
        pen.fill(oval(side * 0.55 * wide, tip + 0.2, 0.75, 0.5), (50, 20, 16), 0.8, 2.5)


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
        pen.fill(oval(0, middle, who.goatee, (who.chin - mouth) / 2 + 0.6), who.hair, 0.9, 1.0)
    if who.moustache:
        stroke = bow(who.mouth_width + 0.6, 1.3, who.moustache)
        pen.fill(at(stroke, 0, mouth - 1.6), who.hair, 0.94, 2.0)


def _mouth(pen: _Pen, who: Person, pose: _Pose) -> None:
    wide = who.mouth_width * (1 + 0.12 * pose.smile)
    y = who.nose_length + who.mouth_height
    dark = mix(who.lips, (60, 10, 15), 0.35)
    # Smiling lifts the corners, opening the mouth lowers the lower lip.
    upper = at(bow(wide, -pose.smile, 0.6 + 0.55 * who.lip), 0, y - 0.3)
    lower = at(bow(wide, -pose.smile - 0.5, 0.6 + who.lip), 0, y + 0.9 + pose.gape)
    if pose.gape > 0.2:
        inside = bow(0.9 * wide, -pose.smile, 0.8 + 2 * pose.gape)
        pen.fill(at(inside, 0, y + 0.5 + pose.gape / 2), (52, 14, 18), 1.0, 2.0)
        teeth = at(bow(0.75 * wide, -pose.smile, 0.2 + 0.8 * pose.gape), 0, y + 0.5)
        pen.fill(teeth, (240, 234, 222), 0.9, 2.0)
    pen.fill(lower, who.lips, 0.95, 2.0)
    pen.fill(upper, dark, 0.95, 2.0)
    below = oval(0, y + 2.6 + who.lip + pose.gape, 0.5 * wide, 0.6)
    pen.fill(below, mix(who.skin, (70, 25, 15), 0.45), 0.35 * (who.beard < 0.5), 1.5)


def _hair_behind(pen: _Pen, who: Person) -> None:
    if not who.hair_length:
        return
    top, wide = _CROWN + who.hair_volume, who.head_width + who.hair_sides + 1.2
    dark = mix(who.hair, (0, 0, 0), 0.3)
    curtain = oval(0, 0, wide, 1.0)
    curtain[:, 1] = np.where(
        curtain[:, 1] < 0, top * curtain[:, 1], who.hair_length * power(curtain[:, 1], 0.4)
    )
    pen.fill(curl(curtain, who.curls), dark, 1.0, -0.8)


def _hair(pen: _Pen, who: Person) -> None:
    wide, top = who.head_width + 0.4, _CROWN + who.hair_volume
    if who.bald:
        # A wreath of hair is left over the ears.
        for side in (-1, 1):
            pen.fill(oval(side * wide, -3.0, 1.3, 1.0 + 0.4 * who.temples), who.hair, 0.9)
        return
    outer = np.stack([(wide + who.hair_sides) * np.cos(_ARC), -top * np.sin(_ARC)], axis=1)
    x = np.linspace(-1, 1, 15)
    parted = who.lock * np.exp(-(((x - who.parting) / 0.45) ** 2))
    line = np.minimum(-who.hairline + who.temples * np.abs(x) ** 3 + parted, who.temples - 5.0)
    inner = np.stack([0.97 * who.head_width * x, line], axis=1)
    end = np.array([[wide + who.hair_sides, who.temples - 4.0]])
    cap = np.concatenate([mirror(end), inner, end, curl(outer, who.curls)])
    pen.fill(cap, who.hair, 1.0, 0.4)
    # A band of shine follows the skull, away from the parting.
    light = mix(who.hair, (255, 250, 240), 0.3)
    shine = bow(0.6 * who.head_width, 3.0, 1.6)
    pen.fill(at(shine, -3 * who.parting, -0.86 * top), light, 0.5, 1.0)


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
    cos, sin = RING[:, 0], RING[:, 1]
    exponent = 2 / who.jaw
    lower = sin > 1e-9
    x = np.where(lower, power(cos, exponent), cos) * who.head_width
    y = np.where(lower, who.chin * power(sin, exponent), _CROWN * sin)
    return np.stack([x, y], axis=1)
