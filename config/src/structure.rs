//! Is a tree of the shape that the schema wants.
