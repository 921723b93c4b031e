//! Interrupt state.
