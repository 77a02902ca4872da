"""What a broadcast does to music, made for training and for measuring: voices, rooms, codecs, speed."""
