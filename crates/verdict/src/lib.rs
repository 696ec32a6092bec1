//! When a result counts as right, and who is owed what
