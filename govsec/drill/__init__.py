"""Recovery plans, drills, probes, capability level."""
