"""What lies in a folder of captures, what is missing or damaged, and what looks wrong: the logic of `check-data`."""
