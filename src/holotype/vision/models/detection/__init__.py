"""Object detectors over any backbone of this zoo."""
