"""The register of systems: what is known of each, its grade, its due dates, and whether it may go live."""
