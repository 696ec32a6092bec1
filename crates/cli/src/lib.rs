//! The one binary: user verbs and service verbs
