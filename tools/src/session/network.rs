//! What leads from this machine into the emulated one: QEMU's user network, and the ports on loopback that it forwards.

use std::net::{Ipv4Addr, TcpListener};

use miette::miette;

use crate::config::{Config, Publish};
use crate::failure::{Failure, Result};
use crate::running::{Service, State, Token};

/// The control domain's address in QEMU's user network, and the port of its API.
pub const CONTROL: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 2, 10), 80);

/// The network of a machine that has a driver domain.
#[derive(Clone, Debug)]
pub struct Network {
    /// The port on loopback that leads to the control domain.
    pub port: u16,
    /// The ports on loopback that lead to guests.
    pub services: Vec<Service>,
    forwards: Vec<(u16, Ipv4Addr, u16)>,
}

impl Network {
    /// The network of the configuration's machine, if it has a guest that could drive one. Ports are chosen now; whoever starts
    /// QEMU much later may find them taken.
    ///
    /// # Errors
    ///
    /// There is no free port.
    pub fn choose(config: &Config) -> Result<Option<Self>> {
        if !config.domains.iter().any(|domain| domain.driver) {
            return Ok(None);
        }
        // Held until all are chosen, so that none is chosen twice. What is asked for comes first.
        let mut held = Vec::new();
        let mut hold = |wanted: u16| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted))
                .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
                .map_err(|error| Failure::unable(miette!("there is no free port on loopback: {error}")))?;
            let port = listener.local_addr().map_or(0, |address| address.port());
            held.push(listener);
            Ok::<u16, Failure>(port)
        };
        let (mut services, mut forwards) = (Vec::new(), Vec::new());
        let of_guests = config.domains.iter().map(|domain| (domain.name.as_str(), &domain.publish));
        let all = of_guests.chain([(mote_builder::config::CONTROL, &config.control.publish)]);
        for (domain, Publish { host, address, guest }) in
            all.flat_map(|(name, all)| all.iter().map(move |it| (name, it)))
        {
            let host = hold(*host)?;
            services.push(Service { domain: domain.into(), host, guest: *guest });
            forwards.push((host, *address, *guest));
        }
        let port = hold(0)?;
        forwards.push((port, CONTROL.0, CONTROL.1));
        Ok(Some(Self { port, services, forwards }))
    }

    /// QEMU's arguments for the network and its card.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let mut network = String::from("user,id=network");
        for (host, address, guest) in &self.forwards {
            network.push_str(&format!(",hostfwd=tcp:{}:{host}-{address}:{guest}", Ipv4Addr::LOCALHOST));
        }
        ["-netdev", &network, "-device", "virtio-net-device,netdev=network"].map(String::from).into()
    }
}

/// What is to be known of the machine that this process runs.
#[must_use]
pub fn state(config: &Config, network: Option<&Network>, token: &Token) -> State {
    let name = config.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    State {
        pid: std::process::id(),
        config: name,
        port: network.map(|network| network.port),
        token: token.clone(),
        services: network.map(|network| network.services.clone()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Domain;

    fn config(publish: &[(u16, u16)]) -> Config {
        let address = Ipv4Addr::new(10, 0, 2, 20);
        let publish = publish.iter().map(|&(host, guest)| Publish { host, address, guest }).collect();
        let web = Domain { name: "web".into(), publish, ..Domain::default() };
        let driver = Domain { name: "driver".into(), driver: true, ..Domain::default() };
        Config { domains: vec![driver, web], ..Config::default() }
    }

    #[test]
    fn a_taken_port_is_replaced_and_none_is_chosen_twice() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let taken = (taken.local_addr().expect("its number").port(), taken);
        let network = Network::choose(&config(&[(taken.0, 80), (0, 81), (taken.0, 82)])).expect("ports").expect("some");
        let mut ports: Vec<_> = network.services.iter().map(|service| service.host).chain([network.port]).collect();
        assert!(!ports.contains(&taken.0) && !ports.contains(&0), "{ports:?}");
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 4);
    }

    #[test]
    fn qemu_forwards_what_is_published_and_the_api() {
        let network = Network::choose(&config(&[(0, 80)])).expect("ports").expect("some");
        let [_, user, _, device] = &network.arguments()[..] else { panic!("four arguments") };
        let (service, port) = (network.services[0].host, network.port);
        let forwards =
            format!("hostfwd=tcp:127.0.0.1:{service}-10.0.2.20:80,hostfwd=tcp:127.0.0.1:{port}-10.0.2.10:80");
        assert_eq!(*user, format!("user,id=network,{forwards}"));
        assert_eq!(device, "virtio-net-device,netdev=network");
    }

    #[test]
    fn without_a_driver_domain_there_is_no_network() {
        let config = Config { domains: vec![Domain::default()], ..Config::default() };
        assert!(Network::choose(&config).expect("no port is needed").is_none());
        let state = state(&config, None, &Token::fresh().expect("random numbers"));
        assert_eq!((state.port, state.services), (None, Vec::new()));
    }
}
