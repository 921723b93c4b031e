//! Interrupts made pending.

/// Through which register a vCPU sends an SGI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SgiRegister {
    /// `ICC_SGI1R_EL1`: to vCPUs that have the SGI in either group.
    Sgi1r,
    /// `ICC_SGI0R_EL1`: to those that have it in group 0.
    Sgi0r,
    /// `ICC_ASGI1R_EL1`: as SGI0R, for there is no other security state.
    Asgi1r,
}
