"""Reports what became of decisions: in the background, in batches, surviving crash and outage."""
