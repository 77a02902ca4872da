"""Routes of matches and of what explains them."""
