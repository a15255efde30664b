"""Tick loop, signals, watchdog, bounded worker pools."""
