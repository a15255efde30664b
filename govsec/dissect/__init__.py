"""What hosts say on the network: heads of flows put in order, and parsed, one protocol a file."""
