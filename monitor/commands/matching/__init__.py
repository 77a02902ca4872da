"""`airtrace scan`, `explain`, `calibrate` and `evaluate`: matching on recordings instead of streams."""
