"""Masked image modelling: hide most of an image, and learn to paint it from the rest."""
