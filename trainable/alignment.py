"""The names of what a pair's images are registered by before their difference is made."""

OFF, AUTO = "off", "auto"
"""Nothing; and any model of `LADDER`, where the camera moved at all."""
LADDER = ("translation", "affine", "homography")
"""The models of a camera's motion, the simplest first."""
ALIGNMENTS = (OFF, *LADDER, AUTO)
