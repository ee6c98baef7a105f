"""Traffic decisions out of the official publications of the Netherlands (KOOP), and the pictures in them."""
