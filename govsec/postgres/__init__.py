"""PostgreSQL: base backups and the write-ahead log by the replication protocol, windows of recovery, recovery."""
