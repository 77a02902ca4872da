"""What things sound like, by PANNs: labels of streams, similar matches, audio search. Never says what was played."""
