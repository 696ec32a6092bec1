//! HTTP shapes, API traits and clients
