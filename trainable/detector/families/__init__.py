"""The kinds of detectors that can be trained, a file each; `docs/models.md` compares them."""
