"""How fast fedbench is beside what a user would write, and where its time goes."""
