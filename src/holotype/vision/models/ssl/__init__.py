"""Self-supervised learning: an encoder learns from views of images, without labels."""
