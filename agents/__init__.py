"""Deployable programs: wiring, default configuration, systemd units."""
