"""Augmentation: batches of images, changed at random while a network is trained."""
