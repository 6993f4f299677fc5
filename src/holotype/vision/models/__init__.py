"""The zoo of vision: a file in this folder with a decorated class is a new model."""
