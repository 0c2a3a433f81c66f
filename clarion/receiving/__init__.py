"""What comes back from the world: verified, stored, acknowledged. Everything after that happens elsewhere."""
