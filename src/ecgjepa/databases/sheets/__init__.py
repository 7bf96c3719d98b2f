"""Tables of users' own: which records, whose, in which fold, with which labels."""
