//! The life of a task: events in, actions out
