//! A definition as bytes, for whoever has to know it later without the tree that it comes from.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use mote_protocols::service::Terms;

use super::{Definition, StaticChannel, Vbd, Vif};
use crate::addr::{Pa, PaRange};

/// The flags, in the order of their bits.
const fn flags(definition: &Definition) -> [bool; 7] {
    let Definition { vpl011, enhanced, xenstore, driver, direct_map, track_touched, ephemeral, .. } = *definition;
    [vpl011, enhanced, xenstore, driver, direct_map, track_touched, ephemeral]
}

impl Definition {
    /// All of it as bytes.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let mut to = Writer(Vec::new());
        to.text(&self.name);
        to.number(self.memory);
        let flags = flags(self).into_iter().rev().fold(0, |all, flag| all << 1 | u64::from(flag));
        let Self { vcpus, weight, max_grant_frames, max_maptrack_frames, .. } = *self;
        [vcpus, weight, max_grant_frames, max_maptrack_frames].iter().for_each(|&number| to.number(number.into()));
        to.number(flags);
        to.list(&self.peers, |to, peer| to.text(peer));
        to.list(&self.channels, |to, channel| {
            [channel.port, channel.phandle, channel.peer].iter().for_each(|&number| to.number(number.into()));
        });
        to.list(&self.vifs, |to, vif| {
            to.option(vif.backend.as_ref(), |to, backend| to.text(backend));
            to.bytes(&vif.mac);
            to.option(vif.ip.as_ref(), |to, ip| to.bytes(ip));
            to.option(vif.service.as_ref(), |to, terms| to.text(&format!("{terms}")));
            to.option(vif.host.as_ref(), |to, host| to.text(host));
        });
        to.list(&self.vbds, |to, vbd| {
            to.option(vbd.backend.as_ref(), |to, backend| to.text(backend));
            to.text(&vbd.vdev);
            to.number(vbd.number.into());
            to.text(&vbd.serial);
            to.number(vbd.read_only.into());
        });
        for range in [Some(self.kernel), self.ramdisk, self.device_tree] {
            to.option(range.as_ref(), |to, range| {
                to.number(range.base().0);
                to.number(range.size());
            });
        }
        for text in [&self.bootargs, &self.ready] {
            to.option(text.as_ref(), |to, text| to.text(text));
        }
        to.0
    }

    /// Reads what [`Definition::save`] has written; `None` if it is something else.
    #[must_use]
    pub fn load(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        let (name, memory) = (from.text()?, from.number()?);
        let [vcpus, weight, max_grant_frames, max_maptrack_frames] =
            [from.small()?, from.small()?, from.small()?, from.small()?];
        let flags = from.number()?;
        let flag = |bit: u32| flags >> bit & 1 != 0;
        let peers = from.list(Reader::text)?;
        let channels =
            from.list(|from| Some(StaticChannel { port: from.small()?, phandle: from.small()?, peer: from.small()? }))?;
        let vifs = from.list(|from| {
            let backend = from.option(Reader::text)?;
            let (mac, ip) = (from.array()?, from.option(Reader::array)?);
            let service = from.option(|from| Terms::parse(&from.text()?))?;
            Some(Vif { backend, mac, ip, service, host: from.option(Reader::text)? })
        })?;
        let vbds = from.list(|from| {
            let (backend, vdev, number) = (from.option(Reader::text)?, from.text()?, from.small()?);
            Some(Vbd { backend, vdev, number, serial: from.text()?, read_only: from.number()? != 0 })
        })?;
        let kernel = from.option(Reader::range)??;
        let (ramdisk, device_tree) = (from.option(Reader::range)?, from.option(Reader::range)?);
        let (bootargs, ready) = (from.option(Reader::text)?, from.option(Reader::text)?);
        let [vpl011, enhanced, xenstore, driver, direct_map, track_touched, ephemeral] =
            [0, 1, 2, 3, 4, 5, 6].map(flag);
        Some(Self {
            name,
            memory,
            vcpus,
            weight,
            vpl011,
            enhanced,
            xenstore,
            driver,
            direct_map,
            ephemeral,
            peers,
            channels,
            vifs,
            vbds,
            max_grant_frames,
            max_maptrack_frames,
            kernel,
            bootargs,
            ramdisk,
            device_tree,
            ready,
            track_touched,
        })
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn option<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        self.0.push(value.is_some().into());
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn list<T>(&mut self, values: &[T], write: impl Fn(&mut Self, &T)) {
        self.number(values.len() as u64);
        values.iter().for_each(|value| write(self, value));
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?.try_into().ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes()?.try_into().ok()
    }

    fn text(&mut self) -> Option<String> {
        Some(core::str::from_utf8(self.bytes()?).ok()?.into())
    }

    fn range(&mut self) -> Option<PaRange> {
        PaRange::new(Pa(self.number()?), self.number()?)
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        let (is_there, rest) = self.0.split_first()?;
        self.0 = rest;
        if *is_there == 0 { Some(None) } else { read(self).map(Some) }
    }

    fn list<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        (0..self.number()?).map(|_| read(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn everything() -> Definition {
        let range = |base, size| PaRange::new(Pa(base), size).unwrap();
        Definition {
            vcpus: 3,
            weight: 77,
            vpl011: true,
            xenstore: true,
            direct_map: true,
            ephemeral: true,
            peers: vec!["a".into(), "b".into()],
            channels: vec![StaticChannel { port: 1, phandle: 2, peer: 3 }],
            vifs: vec![
                Vif {
                    backend: None,
                    mac: [1, 2, 3, 4, 5, 6],
                    ip: Some([10, 0, 2, 20]),
                    service: Some(Terms::new(80)),
                    host: Some("chart.example".into()),
                },
                Vif { backend: Some("driver".into()), mac: [6; 6], ip: None, service: None, host: None },
            ],
            vbds: vec![Vbd {
                backend: None,
                vdev: "xvda".into(),
                number: 51712,
                serial: "web-xvda".into(),
                read_only: true,
            }],
            bootargs: Some("quiet".into()),
            ramdisk: Some(range(0x1000, 0x2000)),
            ready: Some("login:".into()),
            max_maptrack_frames: 9,
            ..Definition::bare("web", 1 << 30, range(0x4000_0000, 12345))
        }
    }

    #[test]
    fn what_was_saved_is_loaded() {
        for definition in [everything(), Definition::bare("x", 65536, everything().kernel)] {
            assert_eq!(Definition::load(&definition.save()), Some(definition));
        }
    }

    #[test]
    fn what_is_cut_off_is_nothing() {
        let saved = everything().save();
        for length in 0..saved.len() {
            assert_eq!(Definition::load(&saved[..length]), None, "{length}");
        }
    }
}
