"""Which matches somebody must see, and how they are told."""
