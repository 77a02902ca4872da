"""What was listened to, and what was not."""
