"""Detectors: what packets, flows and messages mean. One detector a file; event time only; everything is bounded."""
