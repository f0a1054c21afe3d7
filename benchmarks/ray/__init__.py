"""What jobs cost on a Ray cluster."""
