//! The whole house in one process, with funded accounts, for tests
