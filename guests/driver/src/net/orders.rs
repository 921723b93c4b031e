//! Machines that boot: the toolstack builds them, by what is written for it in xenstore ([`ORDERS`]).

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::task::{Context, Poll, Waker};

use mote_protocols::service::ORDERS;
use mote_summon::MachineId;
use mote_unikernel::executor::{Either, either};
use mote_unikernel::xen::store::Store;

use super::summoning::Summoning;

/// What was ordered, by numbers. Fields are private because each machine that is wanted was written down, or is about to be.
#[derive(Default)]
pub struct Orders {
    last: u32,
    wanted: BTreeMap<u32, MachineId>,
    /// Orders for domains' services, and such as are taken back, in their order.
    changes: VecDeque<(u32, Option<u16>)>,
    waiting: Option<Waker>,
}

impl Orders {
    /// A machine is wanted, of the service that domain `service` stands for.
    pub fn add(&mut self, machine: MachineId, service: u16) {
        self.last += 1;
        self.wanted.insert(self.last, machine);
        self.change(self.last, Some(service));
    }

    /// A machine is wanted no more; whether it was.
    pub fn cancel(&mut self, machine: MachineId) -> bool {
        let number = self.wanted.iter().find(|(_, wanted)| **wanted == machine).map(|(number, _)| *number);
        if let Some(number) = number {
            self.wanted.remove(&number);
            self.change(number, None);
        }
        number.is_some()
    }

    /// Whether a machine was ordered.
    pub fn has(&self, machine: MachineId) -> bool {
        self.wanted.values().any(|wanted| *wanted == machine)
    }

    /// The machine that has this number.
    pub fn machine(&self, number: u32) -> Option<MachineId> {
        self.wanted.get(&number).copied()
    }

    fn change(&mut self, number: u32, service: Option<u16>) {
        self.changes.push_back((number, service));
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// What is to be written next.
    fn next(&mut self) -> Option<(u32, Option<u16>)> {
        self.changes.pop_front()
    }

    fn poll(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.changes.is_empty() {
            self.waiting = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

/// Writes orders down and hears which machines are there no more, for as long as there is a xenstore.
pub async fn place(summoning: Summoning, store: Store) {
    let Ok(watch) = store.watch(ORDERS).await else { return };
    loop {
        while let Some((number, service)) = summoning.with_orders(Orders::next) {
            write(&summoning, &store, number, service).await;
        }
        // These are in xenstore, unless they were taken away.
        let known: Vec<u32> = summoning.with_orders(|orders| orders.wanted.keys().copied().collect());
        let changed = poll_fn(|context| summoning.with_orders(|orders| orders.poll(context)));
        match either(changed, watch.next()).await {
            Either::First(()) => {}
            Either::Second(Ok(_)) => {
                let there: Vec<String> = store.directory(ORDERS).await.unwrap_or_default();
                let is_gone = |number: &u32| !there.contains(&format!("{number}"));
                known.into_iter().filter(is_gone).for_each(|number| summoning.lose(number));
            }
            Either::Second(Err(_)) => return,
        }
    }
}

async fn write(summoning: &Summoning, store: &Store, number: u32, service: Option<u16>) {
    let path = format!("{ORDERS}/{number}");
    match service {
        Some(service) => {
            if store.write(&path, format!("{service}")).await.is_err() {
                summoning.lose(number);
            }
        }
        // The toolstack may have been first.
        None => drop(store.remove(&path).await),
    }
}
