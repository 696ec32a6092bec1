//! Rust types and bytecode of the compiled contracts
