"""Topology, quorum, commit log, shipping, healing."""
