"""Package → job → replicas → outcome."""
