"""What is refused by the lists and tables of databases, before a record is read."""
