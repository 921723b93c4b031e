//! Register accesses.
