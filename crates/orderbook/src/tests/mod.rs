//! The book on a chain that does what the test says.

mod asking_why;
mod claiming;
mod counting;
mod endpoints;
mod fair;
mod publishing;
mod querying;
mod remembering;
mod watching;
