"""What a machine is and does: snapshots of it and the events on it. It judges nothing."""
