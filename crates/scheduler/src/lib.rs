//! Turns deals into finished tasks: a pure plan, then acts
