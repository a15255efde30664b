"""The root helper: a closed list of verbs on a unix socket, each with a signed approval and within its own limits."""
