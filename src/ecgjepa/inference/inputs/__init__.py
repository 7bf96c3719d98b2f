"""What a user names becomes a list of records: files, folders, patterns, lists, stores."""
