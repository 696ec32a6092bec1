//! Takes in signed orders, follows the chain, answers best-price queries
