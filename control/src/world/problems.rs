//! Looks for what is wrong with the users' objects.

use super::World;
use super::problem::Problem;

impl World {
    /// Conflicting and broken objects, in a fixed order.
    pub fn problems(&self) -> Vec<Problem> {
        Vec::new()
    }
}
