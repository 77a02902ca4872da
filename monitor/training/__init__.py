"""How the fingerprint's weights are made: data, augmentations, model, loss, evaluation. Never imported by a monitor."""
