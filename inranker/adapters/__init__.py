"""A `Ranker` in the shape that other frameworks ask for; each adapter is a module and an extra of its own."""
