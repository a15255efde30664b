"""Packets in batches: capture files and live rings, flows, and what hosts said on them. It judges nothing."""
