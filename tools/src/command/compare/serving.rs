//! Guests that serve the same page under the same load.

use std::thread;
use std::time::Duration;

use miette::miette;
use mote_api::model::Action;
use serde::{Serialize, Serializer};

use super::latencies::Latencies;
use super::ways::{Sample, Way};
use super::{inside, watch};
use crate::command::load::Figures;
use crate::command::measure::Outside;
use crate::failure::{Failure, Result};
use crate::load::{Load, Outcome};
use crate::running::{Client, Service};

/// Requests to each of them. Each has its own connection: BusyBox's web server keeps none.
pub(super) const REQUESTS: u64 = 1000;
/// Clients on this machine that ask at the same time. QEMU listens with room for two that it has not accepted: where more come, they try
/// again after a second. So each of those who serve publishes four ports.
const CLIENTS: usize = 8;
/// They come in rounds, in which each has its turn: whatever else this machine does meanwhile, it does to all of them.
const ROUNDS: u64 = 10;
/// Requests before these, which find everything cold.
const WARM_UP: u64 = 20;
/// Between the turns of those that are watched.
const REST: Duration = Duration::from_millis(300);

/// What serving took somebody.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Served {
    /// Who served.
    pub name: String,
    /// The load, as the host saw it.
    #[serde(serialize_with = "figures")]
    pub outcome: Outcome,
    /// How long answers took, by the host's clock.
    pub outside: Latencies,
    /// How long they took for one client inside the machine, by the machine's clock.
    pub inside: Latencies,
    /// Instructions of all answers.
    pub instructions: Instructions,
    /// What it had before anybody asked.
    pub idle: Way,
    /// What it had when it was asked for the last time.
    pub last: Way,
    /// The most that it had under load.
    pub most: Most,
}

/// Instructions of all answers together, by who executed them. What the hypervisor does for a domain counts as the domain's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Instructions {
    pub service: u64,
    pub driver: u64,
    pub control: u64,
}

/// What was the most of all looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Most {
    /// Machines at once.
    pub live: u64,
    /// Bytes that it has touched; of a template its own.
    pub touched_bytes: u64,
    /// Bytes that the machine had less to give than before.
    pub taken_bytes: u64,
}

/// When somebody was asked, in nanoseconds of the machine.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Turn {
    pub name: String,
    pub from_ns: u64,
    pub to_ns: u64,
}

/// All that was found out.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Serving {
    /// Of everybody who serves.
    pub serving: Vec<Served>,
    /// When each was asked while it was watched.
    pub turns: Vec<Turn>,
    /// What was seen then.
    pub samples: Vec<Sample>,
}

/// Has everybody who publishes a port serve the page, one after the other, and ends the machine.
///
/// # Errors
///
/// One of them does not serve, or the machine ends before.
pub(super) fn serve_all(outside: &Outside<'_>) -> Result<Serving> {
    let client = Client::new(outside.state)?;
    let loads = loads(&outside.state.services);
    let names: Vec<_> = loads.iter().map(|(name, _)| *name).collect();
    for (name, load) in &loads {
        outside.until(&format!("waiting for {name}"), || Ok(load.is_answered()))?;
    }
    let idle = at_rest(outside, &client, &names)?.0;
    let mut serving = serve_in_rounds(outside, &client, &loads, &idle)?;
    at_rest(outside, &client, &names)?;
    let watched = || watched(outside, &client, &loads, &names);
    let (turns, samples) = watch::during(&client, &names, watched)?;
    let mut inside = inside::ask(outside, &client)?;
    let last = at_rest(outside, &client, &names)?.0;
    for served in &mut serving {
        served.inside = inside.remove(&served.name).unwrap_or_default();
        served.last = last.way(&served.name).cloned().unwrap_or_default();
        served.most = Most::of(&served.name, &turns, &samples);
    }
    end(&client, &last)?;
    Ok(Serving { serving, turns, samples })
}

/// Everybody who publishes ports, and the load on each.
fn loads(services: &[Service]) -> Vec<(&str, Load)> {
    let mut loads: Vec<(&str, Load)> = Vec::new();
    for Service { domain, host, .. } in services {
        let url = format!("http://127.0.0.1:{host}/");
        match loads.iter_mut().find(|(name, _)| name == domain) {
            Some((_, load)) => load.urls.push(url),
            None => {
                let load = Load { urls: vec![url], requests: REQUESTS, clients: CLIENTS, keep_alive: false };
                loads.push((domain, load));
            }
        }
    }
    loads
}

/// What the machine has as soon as nobody is there who was launched for a request, and how often it was asked for that.
fn at_rest(outside: &Outside<'_>, client: &Client, names: &[&str]) -> Result<(Sample, u64)> {
    let (mut sample, mut looks) = (Sample::default(), 0);
    outside.until("waiting for the last clones to vanish", || {
        sample = Sample::take(client, names)?;
        looks += 1;
        Ok(sample.ways.iter().all(Way::is_at_rest))
    })?;
    Ok((sample, looks))
}

/// Asks everybody. Nobody looks meanwhile.
fn serve_in_rounds(
    outside: &Outside<'_>,
    client: &Client,
    loads: &[(&str, Load)],
    idle: &Sample,
) -> Result<Vec<Served>> {
    let mut rounds: Vec<(Vec<Outcome>, Instructions)> = loads.iter().map(|_| Default::default()).collect();
    for _ in 0..ROUNDS {
        for ((name, load), (outcomes, instructions)) in loads.iter().zip(&mut rounds) {
            let load = Load { requests: REQUESTS / ROUNDS, ..load.clone() };
            let (outcome, more) = serve(outside, client, name, &load)?;
            outcomes.push(outcome);
            instructions.add(more);
        }
    }
    let served = loads.iter().zip(rounds).map(|((name, _), (outcomes, instructions))| {
        let outcome = Outcome::of_rounds(outcomes);
        Served {
            name: (*name).into(),
            outside: Latencies::of(&outcome.latencies),
            outcome,
            inside: Latencies::default(),
            instructions,
            idle: idle.way(name).cloned().unwrap_or_default(),
            last: Way::default(),
            most: Most::default(),
        }
    });
    Ok(served.collect())
}

/// Asks somebody, and counts what is executed for that.
fn serve(outside: &Outside<'_>, client: &Client, name: &str, load: &Load) -> Result<(Outcome, Instructions)> {
    let _warm = Load { requests: WARM_UP, ..load.clone() }.run(|_| ());
    let (first, _) = at_rest(outside, client, &[name])?;
    // What is executed for a look is known by this one, and is not counted.
    let before = Sample::take(client, &[name])?;
    let outcome = ask(outside, name, load)?;
    let (after, looks) = at_rest(outside, client, &[name])?;
    let more = |of: &dyn Fn(&Sample) -> u64| {
        let looked = of(&before).saturating_sub(of(&first)).saturating_mul(looks);
        of(&after).saturating_sub(of(&before)).saturating_sub(looked)
    };
    let instructions = Instructions {
        service: more(&|sample| sample.way(name).map_or(0, |way| way.cpu_ns)),
        driver: more(&|sample| sample.driver_ns),
        control: more(&|sample| sample.control_ns),
    };
    Ok((outcome, instructions))
}

fn ask(outside: &Outside<'_>, name: &str, load: &Load) -> Result<Outcome> {
    let outcome = load.run(|done| outside.step.detail(&format!("{name}: {done} of {} pages", load.requests)));
    if outcome.failed > 0 {
        let trouble = outcome.trouble.unwrap_or_default();
        return Err(Failure::unable(miette!("{name} left {} requests without an answer: {trouble}", outcome.failed)));
    }
    Ok(outcome)
}

/// The same load once more, with rests between the turns.
fn watched(outside: &Outside<'_>, client: &Client, loads: &[(&str, Load)], names: &[&str]) -> Result<Vec<Turn>> {
    let now = || Ok::<_, Failure>(client.machine()?.time_ns);
    let mut turns = Vec::new();
    for (name, load) in loads {
        thread::sleep(REST);
        let from_ns = now()?;
        ask(outside, name, load)?;
        turns.push(Turn { name: (*name).into(), from_ns, to_ns: now()? });
        at_rest(outside, client, names)?;
    }
    thread::sleep(REST);
    Ok(turns)
}

impl Instructions {
    const fn add(&mut self, more: Self) {
        self.service += more.service;
        self.driver += more.driver;
        self.control += more.control;
    }
}

impl Most {
    /// The most that was seen of `name` in its turn.
    fn of(name: &str, turns: &[Turn], samples: &[Sample]) -> Self {
        let Some(turn) = turns.iter().find(|turn| turn.name == name) else { return Self::default() };
        let (before, since) = samples.split_at(samples.partition_point(|sample| sample.time_ns < turn.from_ns));
        let free = before.last().map_or(0, |sample| sample.free_kib);
        let seen = since.iter().take_while(|sample| sample.time_ns <= turn.to_ns);
        seen.fold(Self::default(), |most, sample| {
            let (live, touched) = sample.way(name).map_or((0, 0), |way| (way.live, way.touched_bytes));
            Self {
                live: most.live.max(live),
                touched_bytes: most.touched_bytes.max(touched),
                taken_bytes: most.taken_bytes.max(free.saturating_sub(sample.free_kib) << 10),
            }
        })
    }
}

/// Ends everybody: a template cannot be asked to.
fn end(client: &Client, last: &Sample) -> Result<()> {
    for way in &last.ways {
        match way.clones {
            Some(_) => client.destroy(&way.name)?,
            None => drop(client.shut_down(&way.name, Action::Poweroff)?),
        }
    }
    Ok(())
}

fn figures<S: Serializer>(outcome: &Outcome, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    Figures::of(outcome).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ports_of_a_domain_are_one_load() {
        let service = |domain: &str, host| Service { domain: domain.into(), host, guest: 80 };
        let services = [service("linux", 1), service("clones", 2), service("linux", 3)];
        let loads = loads(&services);
        let [("linux", linux), ("clones", clones)] = &loads[..] else { panic!("{loads:?}") };
        assert_eq!((linux.urls.len(), clones.urls.len(), clones.clients), (2, 1, CLIENTS));
    }

    #[test]
    fn the_most_is_that_of_its_own_turn() {
        let sample = |time_ns, free_kib, live| Sample {
            time_ns,
            free_kib,
            ways: vec![Way { name: "clones".into(), live, touched_bytes: live * 10, ..Way::default() }],
            ..Sample::default()
        };
        let samples = [(5, 900, 9), (10, 1000, 0), (20, 900, 2), (30, 800, 3), (40, 990, 1), (50, 100, 8)];
        let samples = samples.map(|(time, free, live)| sample(time, free, live));
        let turns = [Turn { name: "clones".into(), from_ns: 15, to_ns: 45 }];
        let most = Most::of("clones", &turns, &samples);
        assert_eq!(most, Most { live: 3, touched_bytes: 30, taken_bytes: 200 << 10 });
        assert_eq!(Most::of("linux", &turns, &samples), Most::default());
    }
}
