"""Events of event cameras: arrays, files, packets, images, and a simulator."""
