//! The properties a node may have, and what to suggest for one it may not.

/// Who understands a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Mote and Xen.
    Both,
    /// Xen alone: a guest that asks for it cannot be given it here.
    XenOnly,
}

use Support::{Both, XenOnly};

/// What `/chosen` may say.
pub const CHOSEN: &[(&str, Support)] = &[
    ("#address-cells", Both),
    ("#size-cells", Both),
    ("bootargs", Both),
    ("mote,interactive", Both),
    ("stdout-path", Both),
    ("xen,xen-bootargs", Both),
];

/// What a guest's node may say: Xen's dom0less binding and Mote's own.
pub const DOMAIN: &[(&str, Support)] = &[
    ("#address-cells", Both),
    ("#size-cells", Both),
    ("compatible", Both),
    ("cpus", Both),
    ("memory", Both),
    ("max_grant_frames", Both),
    ("max_maptrack_frames", Both),
    ("direct-map", Both),
    ("mote,driver", Both),
    ("mote,ephemeral", Both),
    ("mote,peers", Both),
    ("mote,ready", Both),
    ("mote,shell", Both),
    ("mote,track-touched", Both),
    ("mote,weight", Both),
    ("phandle", Both),
    ("vpl011", Both),
    ("xen,enhanced", Both),
    ("xen,passthrough", Both),
    ("domain-cpupool", XenOnly),
    ("llc-colors", XenOnly),
    ("max_grant_version", XenOnly),
    ("nr_spis", XenOnly),
    ("sve", XenOnly),
    ("xen,static-mem", XenOnly),
];

/// What the control domain's node may say.
pub const CONTROL: &[(&str, Support)] = &[
    ("#address-cells", Both),
    ("#size-cells", Both),
    ("compatible", Both),
    ("memory", Both),
    ("mote,control", Both),
    ("mote,guest", Both),
    ("mote,publish", Both),
    ("phandle", Both),
];

/// What a network interface's node may say.
pub const VIF: &[(&str, Support)] = &[
    ("backend", Both),
    ("compatible", Both),
    ("local-mac-address", Both),
    ("mote,clone-memory", Both),
    ("mote,connections", Both),
    ("mote,host", Both),
    ("mote,ip", Both),
    ("mote,keep", Both),
    ("mote,launch", Both),
    ("mote,life", Both),
    ("mote,machines", Both),
    ("mote,patience", Both),
    ("mote,per-client", Both),
    ("mote,publish", Both),
    ("mote,service", Both),
    ("mote,waiting", Both),
    ("phandle", Both),
];

/// What a disk's node may say.
pub const VBD: &[(&str, Support)] = &[
    ("backend", Both),
    ("compatible", Both),
    ("mote,file", Both),
    ("mote,vdev", Both),
    ("phandle", Both),
    ("read-only", Both),
];

/// What a node of an event channel may say.
pub const CHANNEL: &[(&str, Support)] = &[("compatible", Both), ("phandle", Both), ("xen,evtchn", Both)];

/// What a module's node may say.
pub const MODULE: &[(&str, Support)] = &[
    ("bootargs", Both),
    ("compatible", Both),
    ("mote,file", Both),
    ("mote,guest", Both),
    ("phandle", Both),
    ("reg", Both),
];

/// The name in `known` that `name` was probably meant to be.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this likeness two names have nothing to do with each other.
    const ALIKE: f64 = 0.75;
    // Mote's own are often written without the prefix.
    let likeness = |candidate: &str| {
        let bare = candidate.split_once(',').map_or(candidate, |(_, bare)| bare);
        strsim::jaro_winkler(name, candidate).max(strsim::jaro_winkler(name, bare))
    };
    known
        .into_iter()
        .map(|candidate| (likeness(candidate), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// The help for `name`, which is none of `known`.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("known here: {}", known.into_iter().collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_names_find_what_was_meant() {
        let names = || DOMAIN.iter().map(|(name, _)| *name);
        for (written, meant) in [("memroy", "memory"), ("cpu", "cpus"), ("vpl01", "vpl011"), ("weight", "mote,weight")]
        {
            assert_eq!(nearest(written, names()), Some(meant), "{written}");
        }
        assert_eq!(nearest("colour", names()), None);
    }
}
