"""What every judge of govsec shares: the form of findings, telling them once, keeping quiet, what is usual."""
