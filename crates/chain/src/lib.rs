//! Market events from a cursor and market transactions through nonce lanes
