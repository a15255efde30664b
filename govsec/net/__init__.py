"""Packets in batches: capture files and live rings, flows, evidence. It reads no protocol and judges nothing."""
