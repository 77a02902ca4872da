"""How well a worker keeps up with its streams, what it says about it, and what it does if it cannot."""
