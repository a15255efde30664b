"""What is wrong on a host: baselines, drift and detectors, one a file. Time comes from the records."""
