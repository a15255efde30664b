"""What becomes of findings: how bad an event is by the law, who must be told by when, and the case it is kept in."""
