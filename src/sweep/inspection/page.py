"""An inspection as a page and its trigger as a picture."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from sweep.inspection.judge import text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sweep.inspection.judge import Finding

_TEMPLATE = Path(__file__).with_name("page.html.j2")


def pictures(finding: Finding, example: NDArray[np.float32], scale: float) -> dict[str, bytes]:
    """The trigger alone, and on a clean image (h, w, c) in 0..255, as PNG files by caption."""
    trigger = finding.trigger
    colours = trigger.pattern / scale
    alone = np.concatenate([_three(colours), 255 * trigger.mask], axis=2)
    worn = example * (1 - trigger.mask) + colours * trigger.mask
    return {
        f"trigger of class {trigger.target}": _png(alone),
        "clean image": _png(_three(example)),
        "with the trigger": _png(_three(worn)),
    }


def page(name: str, finding: Finding, shown: dict[str, bytes]) -> str:
    """The page on B, one HTML file with pictures by their captions, see `pictures`."""
    import jinja2

    rows = [
        {
            "name": trigger.target,
            "size": f"{trigger.size:.0f}" if trigger.reached else "none",
            "reached": f"{100 * trigger.reached:.0f}%",
            "index": f"{index:.2f}",
            "margin": f"{margin:.2f}",
            "suspect": trigger is finding.trigger,
        }
        for trigger, index, margin in sorted(
            zip(finding.triggers, finding.indices, finding.margins, strict=True),
            key=lambda row: -row[1] - row[2],
        )
    ]
    template = jinja2.Environment(autoescape=True).from_string(_TEMPLATE.read_text())
    return template.render(
        name=name,
        lines=text(finding).splitlines(),
        pictures=[(one, base64.b64encode(png).decode()) for one, png in shown.items()],
        rows=rows,
    )


def _three(pixels: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def _png(pixels: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()
