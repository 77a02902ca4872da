"""What a stream is: its URL, and ffmpeg."""
