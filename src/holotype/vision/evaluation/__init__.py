"""How good classifiers, detectors and encoders of images are."""
