"""Files, numbers and belief maps turned into tables, pictures and pages for people to read."""
