"""What training needs to know of protein pairs."""
