"""Pure statistics that workers and monitoring share. Numpy and scipy only."""
