"""stvae-rt, the real-time network of this package."""
