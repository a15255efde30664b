"""Reports and message catalogues for people (zh, en)."""
