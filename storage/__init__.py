"""Where facts live: the repository, its tables and SQL, its datastores."""
