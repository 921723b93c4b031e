//! All services by address, with what happens to them.

use alloc::collections::{BTreeMap, VecDeque};

use mote_netback::Mac;

use crate::slots::{Id, Slots};
use crate::{Counters, MachineId, Policy, Refusal, Service, ServiceId};

/// As many as there can be templates, more or less.
const SERVICES_MAX: u32 = 1_024;

/// A service as it stands.
pub struct Standing {
    pub service: Service,
    /// By which the network knows its address.
    pub mac: Mac,
    pub counters: Counters,
    /// Machines that can have another connection, the one that had one last at the end. Some may be gone, or full.
    pub roomy: VecDeque<MachineId>,
    /// Connections that wait for a machine. Some may be gone.
    pub waiting: VecDeque<Id>,
    /// When a SYN was answered last, in milliseconds.
    pub last_syn: Option<u64>,
    /// When its address was defended last, in milliseconds.
    pub defended: u64,
}

/// The services. Fields are private because each has its place in both.
pub struct Services {
    all: Slots<Standing>,
    by_address: BTreeMap<([u8; 4], u16), ServiceId>,
}

impl Services {
    pub const fn new() -> Self {
        Self { all: Slots::new(SERVICES_MAX), by_address: BTreeMap::new() }
    }

    pub fn add(&mut self, service: Service, now: u64) -> Result<ServiceId, Refusal> {
        check(&service.policy)?;
        if service.mac.is_multicast() || service.mac.0 == [0; 6] || !is_station(service.ip) || service.port == 0 {
            return Err(Refusal::Address);
        }
        let address = (service.ip, service.port);
        if self.by_address.contains_key(&address) {
            return Err(Refusal::Taken);
        }
        let mac = self.at_ip(service.ip).map_or(service.mac, |other| other.mac);
        let (roomy, waiting) = (VecDeque::new(), VecDeque::new());
        let counters = Counters::default();
        let standing = Standing { service, mac, counters, roomy, waiting, last_syn: None, defended: now };
        let id = ServiceId(self.all.insert(standing).ok_or(Refusal::TooMany)?);
        self.by_address.insert(address, id);
        Ok(id)
    }

    pub fn change(&mut self, id: ServiceId, policy: Policy) -> Result<(), Refusal> {
        check(&policy)?;
        self.get_mut(id).ok_or(Refusal::Unknown)?.service.policy = policy;
        Ok(())
    }

    pub fn remove(&mut self, id: ServiceId) {
        if let Some(Standing { service, .. }) = self.all.remove(id.0) {
            self.by_address.remove(&(service.ip, service.port));
        }
    }

    pub fn get(&self, id: ServiceId) -> Option<&Standing> {
        self.all.get(id.0)
    }

    /// Whether its machines boot.
    pub fn boots(&self, id: ServiceId) -> bool {
        self.get(id).is_some_and(|standing| standing.service.policy.boots)
    }

    pub fn get_mut(&mut self, id: ServiceId) -> Option<&mut Standing> {
        self.all.get_mut(id.0)
    }

    pub fn find(&self, ip: [u8; 4], port: u16) -> Option<ServiceId> {
        self.by_address.get(&(ip, port)).copied()
    }

    /// Some service with this address.
    pub fn at_ip(&self, ip: [u8; 4]) -> Option<&Standing> {
        self.get(self.id_at_ip(ip)?)
    }

    pub fn id_at_ip(&self, ip: [u8; 4]) -> Option<ServiceId> {
        self.by_address.range((ip, 0)..=(ip, u16::MAX)).next().map(|(_, id)| *id)
    }
}

const fn check(policy: &Policy) -> Result<(), Refusal> {
    if policy.machines == 0 || policy.connections == 0 { Err(Refusal::Policy) } else { Ok(()) }
}

/// Whether an address can be one station's (RFC 1122, 3.2.1.3).
pub const fn is_station(ip: [u8; 4]) -> bool {
    let [first, ..] = ip;
    first != 0 && first != 127 && first < 224
}
