"""MariaDB: base backups and binary logs into the repository, and a server brought back from them to a point in time."""
