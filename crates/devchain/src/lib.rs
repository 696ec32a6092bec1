//! An EVM chain in this process, spoken to by JSON-RPC
