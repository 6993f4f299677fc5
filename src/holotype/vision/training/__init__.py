"""What training needs to know of images."""
