//! Keeps secrets.
