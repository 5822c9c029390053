"""What is learned, and the noise put on it."""
