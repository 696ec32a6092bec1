//! Asks for work, fetches, runs, contributes, reveals, uploads
