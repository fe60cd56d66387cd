//! What users write: the kinds of the mesh, typed, with their schemas.
