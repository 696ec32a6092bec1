//! Run one program under limits and give back its outcome and digest
