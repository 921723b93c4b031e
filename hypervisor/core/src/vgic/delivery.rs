//! List registers filled and emptied.
