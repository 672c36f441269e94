"""An image turned and mirrored: the further views that a part may be seen in."""

from __future__ import annotations

from PIL import Image

_T = Image.Transpose
VIEWS = {
    "quarter_left": (_T.ROTATE_90,), "half": (_T.ROTATE_180,), "quarter_right": (_T.ROTATE_270,),
    "mirrored": (_T.FLIP_LEFT_RIGHT,), "mirrored_quarter": (_T.TRANSPOSE,),
    "mirrored_half": (_T.FLIP_TOP_BOTTOM,), "mirrored_quarter_right": (_T.TRANSVERSE,),
}
ROTATIONS = ("quarter_left", "half", "quarter_right")


def turned(image: Image.Image, view: str) -> Image.Image:
    """The image in one of `VIEWS`; as it is where `view` is ""."""
    for step in VIEWS[view] if view else ():
        image = image.transpose(step)
    return image
