"""Events of event cameras: arrays, readers, packets, images, and a simulator."""
