//! Content-addressed inputs and results with IPFS names
