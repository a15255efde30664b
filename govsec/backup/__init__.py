"""Sources, archive, restore, retention."""
