"""The main job: a configuration, the cells it stands for, their training and comparison, and the store."""
