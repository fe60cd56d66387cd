//! Ties the parts together: source → world → catalog → push, in one owner task.
