"""HTTP routes, one file a topic; none holds logic."""
