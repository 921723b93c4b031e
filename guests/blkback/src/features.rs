//! What a backend writes into its directory of xenstore for the frontend to read (`io/blkif.h`), but for the state.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use mote_protocols::blkif::{PROTOCOL, info};

use crate::{Geometry, INDIRECT_SEGMENTS};

/// A node's name and its value.
pub type Node = (&'static str, String);

/// What is there when the backend says that it waits for the frontend: how the two can work together.
///
/// Grants are not kept: data is copied once, by the hypervisor. With grants that are kept the frontend would copy it as well.
#[must_use]
pub fn before_connection(geometry: &Geometry) -> Vec<Node> {
    let flag = |yes: bool| u32::from(yes).to_string();
    let mut nodes = Vec::from([
        ("feature-barrier", flag(false)),
        ("feature-flush-cache", flag(geometry.flush)),
        ("feature-persistent", flag(false)),
        ("feature-max-indirect-segments", INDIRECT_SEGMENTS.to_string()),
        ("max-ring-page-order", 0.to_string()),
        ("multi-queue-max-queues", 1.to_string()),
    ]);
    match geometry.discard {
        Some(able) if !geometry.read_only => nodes.extend([
            ("feature-discard", flag(true)),
            ("discard-granularity", able.granularity.max(geometry.sector_size).to_string()),
            ("discard-alignment", 0.to_string()),
            ("discard-secure", flag(false)),
        ]),
        _ => nodes.push(("feature-discard", flag(false))),
    }
    nodes
}

/// What is there when the backend says that it is connected: what the disk is like.
#[must_use]
pub fn on_connection(geometry: &Geometry) -> Vec<Node> {
    let kind = if geometry.read_only { info::READ_ONLY } else { 0 };
    Vec::from([
        ("sectors", geometry.sectors.to_string()),
        ("info", kind.to_string()),
        ("sector-size", geometry.sector_size.to_string()),
        ("physical-sector-size", geometry.sector_size.to_string()),
    ])
}

/// Whether a frontend that writes this as its `protocol`, or nothing, lays requests out as this backend does.
#[must_use]
pub fn speaks_our_layouts(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol == PROTOCOL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Discarding;

    #[test]
    fn a_disk_offers_what_it_can_do() {
        let disk = Geometry { sectors: 8, sector_size: 4096, read_only: false, flush: true, discard: None };
        let value = |nodes: &[Node], name| nodes.iter().find(|(node, _)| *node == name).map(|(_, value)| value.clone());
        let plain = before_connection(&disk);
        assert_eq!(value(&plain, "feature-flush-cache").as_deref(), Some("1"));
        assert_eq!(value(&plain, "feature-discard").as_deref(), Some("0"));
        let discard = Some(Discarding { granularity: 512, sectors_max: 1 });
        let able = before_connection(&Geometry { discard, ..disk });
        assert_eq!(value(&able, "discard-granularity").as_deref(), Some("4096"));
        let frozen = Geometry { discard, read_only: true, ..disk };
        assert_eq!(value(&before_connection(&frozen), "feature-discard").as_deref(), Some("0"));
        assert_eq!(value(&on_connection(&frozen), "info").as_deref(), Some("4"));
        assert_eq!(value(&on_connection(&frozen), "sectors").as_deref(), Some("8"));
        assert!(
            speaks_our_layouts(None) && speaks_our_layouts(Some("arm-abi")) && !speaks_our_layouts(Some("x86_32-abi"))
        );
    }
}
