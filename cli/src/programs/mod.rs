//! Small programs that stand in for images of the examples.
