"""Pairs of images and their labels: what is on disk, what is wrong with it, what the model sees."""
