"""The names of what a model is given of a pair."""

DIFFERENCE = "difference"
"""The absolute difference of the two images: three channels, as plain DETR takes an image."""
FEATURES = "features"
"""Both images, of whose maps in the backbone the absolute difference goes on."""
STACKED = "stacked"
"""The absolute difference, and the after image as three channels more."""
SIGNALS = (DIFFERENCE, FEATURES, STACKED)

CHANNELS = {DIFFERENCE: 3, FEATURES: 6, STACKED: 6}
"""Of what the model is given."""
