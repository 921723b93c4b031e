//! Event channels: as many as there are, of every kind, and more events than anybody wants.

use mote_unikernel::println;
use mote_unikernel::xen::Errno;
use xen_abi::event_channel::{AllocUnbound, BindInterdomain, BindIpi, BindPirq, BindVirq, Port, Reset, op};
use xen_abi::xen::{domid, hypercall, virq};

use crate::Cast;
use crate::wild;

/// More than any domain has.
const MANY: u32 = 5000;
/// Events of a storm.
const STORM: u32 = 20_000;

fn event<T: xen_abi::Wire>(op: u64, argument: &mut T) -> Result<u64, Errno> {
    wild::call(hypercall::EVENT_CHANNEL_OP, op, argument)
}

/// A port that `remote` may connect to.
pub fn offer(remote: u16) -> Result<u32, Errno> {
    let mut argument = AllocUnbound { dom: domid::SELF, remote_dom: remote, port: 0 };
    event(op::ALLOC_UNBOUND, &mut argument).map(|_| argument.port)
}

/// A port that is connected to another's.
fn connect(remote_dom: u16, remote_port: u32) -> Result<u32, Errno> {
    let mut argument = BindInterdomain { remote_dom, pad: 0, remote_port, local_port: 0 };
    event(op::BIND_INTERDOMAIN, &mut argument).map(|_| argument.local_port)
}

/// Closes a port.
pub fn close(port: u32) -> Result<u64, Errno> {
    event(op::CLOSE, &mut Port { port })
}

/// Closes all.
pub fn reset() {
    event(op::RESET, &mut Reset { dom: domid::SELF }).expect("one's own ports can be closed");
}

/// Every kind of port until there are no more.
pub fn without_end(cast: Cast) {
    until_refused("ports for a peer", || offer(cast.victim));
    until_refused("ports to itself", || offer(domid::SELF).and_then(|port| connect(domid::SELF, port)));
    until_refused("IPIs", || {
        let mut argument = BindIpi { vcpu: 1, port: 0 };
        event(op::BIND_IPI, &mut argument).map(|_| argument.port)
    });
    virtual_interrupts();
    let physical = event(op::BIND_PIRQ, &mut BindPirq { pirq: 33, flags: 0, port: 0 });
    println!("hostile: a physical interrupt: {physical:?}");
}

/// Ports to those that it was not joined with.
pub fn to_others(cast: Cast) {
    println!("hostile: ports to a stranger: {:?}", offer(cast.stranger));
    println!("hostile: ports to nobody: {:?}", offer(1000));
}

fn until_refused(what: &str, make: impl FnMut() -> Result<u32, Errno>) {
    let (count, error) = exhaust(make);
    println!("hostile: {what}: {count}, then {error:?}");
    reset();
}

fn exhaust(mut make: impl FnMut() -> Result<u32, Errno>) -> (u32, Errno) {
    for count in 0..MANY {
        if let Err(error) = make() {
            return (count, error);
        }
    }
    panic!("there is no end of ports");
}

fn virtual_interrupts() {
    let mut bound = 0;
    for virq in 0..virq::COUNT + 2 {
        for vcpu in 0..3 {
            let result = event(op::BIND_VIRQ, &mut BindVirq { virq, vcpu, port: 0 });
            let refused = matches!(result, Err(Errno::EINVAL | Errno::ENOENT | Errno::EEXIST));
            assert!(result.is_ok() || refused, "virtual interrupt {virq} of {vcpu}: {result:?}");
            bound += u32::from(result.is_ok());
        }
    }
    println!("hostile: virtual interrupts: {bound}");
    reset();
}

/// All ports there are, some of them connected to the victim, to be left open.
pub fn fill_and_keep(cast: Cast) {
    reset();
    let connected = (1..64).filter(|&port| connect(cast.victim, port).is_ok()).count();
    let (count, error) = exhaust(|| offer(cast.victim));
    println!("hostile: keeps {connected} ports to the victim and {count} more: {error:?}");
}

/// More events than the victim can look at.
pub fn storm(cast: Cast) {
    let port = (1..64).find_map(|port| connect(cast.victim, port).ok()).expect("the victim offers a port");
    for _ in 0..STORM {
        event(op::SEND, &mut Port { port }).expect("a connected port");
    }
    println!("hostile: {STORM} events sent");
    close(port).expect("a port of its own");
}
