"""Training of the fingerprint: data, augmentation, model, loss, evaluation. Never imported while monitoring."""
