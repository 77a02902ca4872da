"""Which matches become alerts, and the events that report matches and alerts to other systems."""
