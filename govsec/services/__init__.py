"""Whether portals, pages and TLS servers answer as they should, asked from outside as their users do."""
