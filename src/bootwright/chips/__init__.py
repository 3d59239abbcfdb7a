"""Room 2: what each silicon is like, as data, and the pure rules of its eFuses."""
