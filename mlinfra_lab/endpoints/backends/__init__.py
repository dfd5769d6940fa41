"""What predicts behind an endpoint; the heavy libraries are imported here."""
