"""What the adapter of one site tells a server about that site's training examples."""
