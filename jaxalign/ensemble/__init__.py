"""Many networks at once: one pure function trains a member, one layout batches the members."""
