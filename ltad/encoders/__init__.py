"""The frozen image-text encoder: the seam (`Encoder`) and ALIGN's adapter behind it."""

from ltad.encoders.align import AlignEncoder, load_encoder
from ltad.encoders.base import Encoder, ImageFeatures, Vocabulary

__all__ = ["AlignEncoder", "Encoder", "ImageFeatures", "Vocabulary", "load_encoder"]
