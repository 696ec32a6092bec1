//! Generated files, checks and measurements.
fn main() {}
