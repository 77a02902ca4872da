"""Stream URLs, and ffmpeg, which opens them."""
