"""What makes a module on an NVIDIA GPU faster: rows of the table of candidates, and what they put around its forward."""
