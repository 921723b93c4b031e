//! VMIDs: the tags by which TLBs tell the domains' translations apart.
//!
//! There may be more domains than VMIDs, so a domain has one for a generation alone, from its first turn in it. When all are given, all
//! TLBs forget everything and the next generation begins, in which only the domains that run go on, under the VMIDs that they have.
//! Until then a VMID means one domain, be it there or not: what TLBs remember of a domain that has ended nobody finds, and it takes no
//! more to have them forget it.
//!
//! Which domains run is part of what this needs to be right, so it is under the lock of the schedule: a domain that runs has a VMID of this
//! generation, and all its vCPUs that run have the same. Whoever changes a map has no such lock. It writes to the map before it reads the
//! tag, and the tag is written before anything is translated by it. So either it reads the VMID that must be invalidated, or what is
//! translated under that VMID is what it wrote; a VMID of an older generation that it reads is at worst another's, which loses a few entries.

use alloc::vec::Vec;
use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::sched::MAX_PCPUS;

/// A domain's VMID, and in which generation it is the domain's: of none at first.
#[derive(Debug, Default)]
pub struct Tag(AtomicU64);

impl Tag {
    /// The VMID that the domain has, or had last; 0, which EL2 keeps for running no guest, if it never had one.
    pub fn vmid(&self) -> u16 {
        self.0.load(Ordering::Relaxed) as u16
    }

    fn generation(&self) -> u64 {
        self.0.load(Ordering::Relaxed) >> u16::BITS
    }

    fn set(&self, generation: u64, vmid: u16) {
        self.0.store(generation << u16::BITS | u64::from(vmid), Ordering::Relaxed);
    }
}

/// The VMIDs of the machine.
pub struct Vmids {
    generation: u64,
    greatest: u16,
    // Those of this generation still to be given, but for those that were kept from the last.
    fresh: RangeInclusive<u16>,
    kept: Vec<u16>,
}

impl Vmids {
    /// All VMIDs from 1 on. What the TLBs remember from before they forget when the first is given.
    pub fn new(greatest: u16) -> Self {
        let kept = Vec::with_capacity(MAX_PCPUS);
        // One in which nobody has any.
        Self { generation: 1, greatest, fresh: RangeInclusive::new(1, 0), kept }
    }

    /// Whether a domain's VMID is its own now.
    pub fn is_current(&self, tag: &Tag) -> bool {
        tag.generation() == self.generation
    }

    /// Gives a domain that is about to run a VMID. If that takes a new generation, the domains that are `running` keep theirs, and
    /// `forget_all` makes all TLBs forget everything, and instruction caches too, as these may know VMIDs. One whose tag is not
    /// current does not count as running.
    ///
    /// # Panics
    /// If as many run as there are VMIDs: there are more than pCPUs.
    pub fn renew<'a>(&mut self, tag: &Tag, running: impl Iterator<Item = &'a Tag>, forget_all: impl FnOnce()) {
        let vmid = self.take().or_else(|| {
            self.begin_generation(running);
            forget_all();
            self.take()
        });
        tag.set(self.generation, vmid.expect("there are more VMIDs than pCPUs"));
    }

    fn take(&mut self) -> Option<u16> {
        self.fresh.by_ref().find(|vmid| !self.kept.contains(vmid))
    }

    fn begin_generation<'a>(&mut self, running: impl Iterator<Item = &'a Tag>) {
        let last = self.generation;
        self.generation += 1;
        self.fresh = 1..=self.greatest;
        self.kept.clear();
        // One that runs on several pCPUs is not of the last generation any more when it comes again.
        for tag in running.filter(|tag| tag.generation() == last) {
            self.kept.push(tag.vmid());
            tag.set(self.generation, tag.vmid());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// A domain: its number, of which no other ever has the same, and how often its map was changed.
    #[derive(Default)]
    struct Domain {
        serial: u64,
        version: u64,
        tag: Tag,
    }

    /// What TLBs remember under a VMID: whose translations, of which version of its map.
    type Tlb = BTreeMap<u16, BTreeSet<(u64, u64)>>;

    /// Domains that come and go and run on pCPUs with TLBs that forget nothing unless they are told to.
    struct Model {
        vmids: Vmids,
        domains: Vec<Domain>,
        // By pCPU: the domain that runs there, and what is remembered.
        runs: Vec<Option<usize>>,
        tlbs: Vec<Tlb>,
        serials: u64,
        generations: u64,
    }

    /// What may be done wrong at the end of a generation.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Fault {
        None,
        NotForgotten,
        NotKept,
    }

    impl Model {
        fn new(greatest: u16, domains: usize, pcpus: usize) -> Self {
            let new = |serial| Domain { serial, ..Domain::default() };
            // Whoever had the machine before left something everywhere.
            let left: Tlb = (1..=greatest).map(|vmid| (vmid, BTreeSet::from([(u64::MAX, 0)]))).collect();
            Self {
                vmids: Vmids::new(greatest),
                domains: (0..domains as u64).map(new).collect(),
                runs: std::vec![None; pcpus],
                tlbs: std::vec![left; pcpus],
                serials: domains as u64,
                generations: 0,
            }
        }

        fn enter(&mut self, pcpu: usize, domain: usize, fault: Fault) {
            self.runs[pcpu] = Some(domain);
            let Self { vmids, domains, runs, tlbs, generations, .. } = self;
            let tag = &domains[domain].tag;
            if !vmids.is_current(tag) {
                let running = runs.iter().flatten().map(|&index| &domains[index].tag);
                let running = running.filter(|_| fault != Fault::NotKept);
                vmids.renew(tag, running, || {
                    *generations += 1;
                    if fault != Fault::NotForgotten {
                        tlbs.iter_mut().for_each(Tlb::clear);
                    }
                });
            }
        }

        /// All that run translate something; `false` if one finds what is not, or no longer, its own.
        fn translate(&mut self) -> bool {
            let Self { vmids, domains, runs, tlbs, .. } = self;
            runs.iter().zip(tlbs).filter_map(|(domain, tlb)| Some((&domains[(*domain)?], tlb))).all(|(domain, tlb)| {
                let known = tlb.entry(domain.tag.vmid()).or_default();
                let its_own = (domain.serial, domain.version);
                known.insert(its_own);
                vmids.is_current(&domain.tag) && domain.tag.vmid() != 0 && known.iter().all(|entry| *entry == its_own)
            })
        }

        /// Two that run have the same VMID if they are the same domain.
        fn are_told_apart(&self) -> bool {
            let running: BTreeSet<usize> = self.runs.iter().flatten().copied().collect();
            let vmids: BTreeSet<u16> = running.iter().map(|&domain| self.domains[domain].tag.vmid()).collect();
            vmids.len() == running.len()
        }

        /// Changes the map of a domain, which may run.
        fn change(&mut self, domain: usize) {
            let domain = &mut self.domains[domain];
            domain.version += 1;
            self.tlbs.iter_mut().for_each(|tlb| drop(tlb.remove(&domain.tag.vmid())));
        }

        /// Ends a domain, and makes another one in its place.
        fn replace(&mut self, domain: usize) {
            self.runs.iter_mut().filter(|runs| **runs == Some(domain)).for_each(|runs| *runs = None);
            self.domains[domain] = Domain { serial: self.serials, ..Domain::default() };
            self.serials += 1;
        }

        /// `false` if something went wrong.
        fn go(&mut self, steps: &[(u8, usize, usize)], fault: Fault) -> bool {
            steps.iter().all(|&(action, pcpu, domain)| {
                let (pcpu, domain) = (pcpu % self.runs.len(), domain % self.domains.len());
                match action {
                    0 => self.runs[pcpu] = None,
                    1 => self.change(domain),
                    2 => self.replace(domain),
                    _ => self.enter(pcpu, domain, fault),
                }
                self.translate() && self.are_told_apart()
            })
        }
    }

    fn steps(count: usize) -> impl Strategy<Value = Vec<(u8, usize, usize)>> {
        prop::collection::vec((0_u8..12, any::<usize>(), any::<usize>()), count)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_domain_finds_what_another_left(greatest in 5_u16..12, domains in 1_usize..40, steps in steps(600)) {
            let mut model = Model::new(greatest, domains, 4);
            prop_assert!(model.go(&steps, Fault::None));
            prop_assert!(model.generations > u64::from(domains > 20));
        }

        #[test]
        fn the_model_notices_what_is_done_wrong_at_the_end_of_a_generation(steps in steps(2000)) {
            prop_assert!(!Model::new(6, 30, 4).go(&steps, Fault::NotForgotten));
            prop_assert!(!Model::new(6, 30, 4).go(&steps, Fault::NotKept));
        }
    }

    #[test]
    fn every_vmid_but_zero_is_given_once_in_a_generation() {
        for greatest in [255, u16::MAX] {
            let (mut vmids, mut generations) = (Vmids::new(greatest), 0);
            let mut give = |count: usize| -> (BTreeSet<u16>, u64) {
                let mut new = || {
                    let tag = Tag::default();
                    vmids.renew(&tag, core::iter::empty(), || generations += 1);
                    tag.vmid()
                };
                ((0..count).map(|_| new()).collect(), generations)
            };
            let (given, generations) = give(greatest.into());
            assert_eq!((given.len(), given.first(), generations), (greatest.into(), Some(&1), 1));
            assert_eq!(give(1), (BTreeSet::from([1]), 2));
        }
    }

    #[test]
    fn one_that_runs_keeps_its_vmid_and_one_that_does_not_gets_another() {
        let [runs, waits] = [Tag::default(), Tag::default()];
        let mut vmids = Vmids::new(255);
        for tag in [&runs, &waits] {
            vmids.renew(tag, core::iter::empty(), || {});
        }
        // It runs on two pCPUs.
        let fill = |vmids: &mut Vmids| vmids.renew(&Tag::default(), [&runs, &runs].into_iter(), || {});
        for _ in 0..1000 {
            fill(&mut vmids);
            assert!(vmids.is_current(&runs));
            assert_eq!(runs.vmid(), 1);
        }
        assert!(!vmids.is_current(&waits));
        vmids.renew(&waits, [&runs, &waits].into_iter(), || panic!("there are some left"));
        assert!(vmids.is_current(&waits) && waits.vmid() != 2);
    }

    /// Whoever changes a map beside a pCPU that gives its domain a new VMID, in all orders in which their steps may come: with the
    /// write before the read none leaves what is stale; the other way round one does.
    #[test]
    fn a_change_beside_a_new_vmid_leaves_nothing_stale() {
        let is_always_right = |changer: [u8; 3]| {
            // Which of five moments are the changer's.
            (0_u32..32).filter(|moments| moments.count_ones() == 3).all(|moments| {
                let (mut map_is_new, mut tag, mut read, mut cached) = (false, 1, 0, BTreeMap::new());
                let (mut changer, mut runner) = (changer.into_iter(), [b't', b'w'].into_iter());
                for moment in 0..5 {
                    match if moments & 1 << moment != 0 { changer.next() } else { runner.next() } {
                        // Writes to the map; reads the tag; invalidates by it.
                        Some(b'm') => map_is_new = true,
                        Some(b'r') => read = tag,
                        Some(b'i') => drop(cached.remove(&read)),
                        // Writes the tag; walks the map.
                        Some(b't') => tag = 2,
                        _ => drop(cached.insert(tag, map_is_new)),
                    }
                }
                cached.get(&tag).is_none_or(|is_new| *is_new)
            })
        };
        assert!(is_always_right(*b"mri"));
        assert!(!is_always_right(*b"rmi"));
    }
}
