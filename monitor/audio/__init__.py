"""Audio files in, PCM out."""
