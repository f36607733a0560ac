"""Re-rank first-stage runs, measure them, and compare systems with each other and a student with its teacher."""
