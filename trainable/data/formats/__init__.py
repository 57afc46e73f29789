"""How do others write labels? Each format as pairs of images with boxes in pixels, and those as our layout."""
