"""govsec: backup over three centers, drills, monitoring, graded protection and incidents for government clouds."""
