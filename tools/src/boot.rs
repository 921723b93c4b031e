//! From a configuration to a machine that is ready to be switched on.

mod control;
mod devices;
pub mod machine;
pub mod modules;
pub mod tree;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use miette::{IntoDiagnostic, WrapErr, miette};
use tempfile::TempDir;

use crate::build::{self, Program, Symbols, syndrome};
use crate::cli::Hypervisor;
use crate::config::source::Source;
use crate::config::{Config, Disk, Module, Role, kernel};
use crate::console::{Console, Heard};
use crate::failure::{Failure, Result};
use crate::running::{State, Token};
use crate::session::network::{self, Network};
use crate::session::{self, End, Turns};
use crate::setup::{self, Linux, Need, Paths};
use machine::{Machine, escape};
use modules::{File, Placed};
use tree::Tree;

/// A machine with a hypervisor and its guests in place.
#[derive(Debug)]
pub struct Boot {
    arguments: Vec<String>,
    names: Vec<String>,
    hypervisor: Hypervisor,
    interactive: bool,
    // Mote's own, to explain its last words.
    program: Option<Program>,
    // What leads into it, and what its control domain asks for of who comes that way.
    network: Option<Network>,
    token: Token,
    // Where QEMU is told to give the next CPU its turn, if it has to be.
    control: Option<PathBuf>,
    // Holds the device tree for as long as QEMU may read it.
    _scratch: TempDir,
}

impl Boot {
    /// Fetches and builds what `config` asks for, and puts it into `machine`. `interactive` says whether somebody sits
    /// at the console.
    ///
    /// # Errors
    ///
    /// Something cannot be fetched or built, or does not fit the machine.
    pub fn prepare(config: &Config, machine: &Machine, hypervisor: Hypervisor, interactive: bool) -> Result<Self> {
        setup::ensure(&needs(config, hypervisor))?;
        let scratch = tempfile::tempdir().into_diagnostic().wrap_err("cannot make a temporary directory")?;
        let token = Token::fresh()?;
        let mut tree = Tree::read(&machine.device_tree(scratch.path())?)?;
        let ram = tree.ram()?;
        let control = match hypervisor {
            Hypervisor::Mote => control::files(&tree, ram, &config.control, token.text(), scratch.path())?,
            Hypervisor::Xen => Vec::new(),
        };
        let network = if hypervisor == Hypervisor::Mote { Network::choose(config)? } else { None };
        let devices =
            if hypervisor == Hypervisor::Mote { devices::arguments(config, network.as_ref()) } else { Vec::new() };
        let driver = devices::driver(config).filter(|_| !devices.is_empty());
        let of_driver = driver.map(|driver| {
            let count = devices.iter().filter(|argument| argument.starts_with("virtio-")).count();
            devices::file(&tree, driver, count, scratch.path())
        });
        let of_guests = files(config)?.into_iter().chain(of_driver.transpose()?);
        let placed = modules::place(ram, control.into_iter().chain(of_guests).collect())?;
        tree.add(config, &placed, hypervisor, interactive);
        if let Some(driver) = driver {
            devices::give(&mut tree, driver, &placed);
        }
        if let (Hypervisor::Mote, Some(own)) = (hypervisor, placed.first_chunk()) {
            tree.add_control(own, config.control.memory);
        }
        let dtb = scratch.path().join("tree.dtb");
        std::fs::write(&dtb, tree.to_dtb())
            .map_err(|error| Failure::unable(miette!("cannot write {}: {error}", dtb.display())))?;
        let program = match hypervisor {
            Hypervisor::Mote => Some(build::hypervisor()?),
            Hypervisor::Xen => None,
        };
        let image = program.as_ref().map_or_else(|| Paths::of_workspace().xen(), |p| p.image.clone());
        let mut arguments = machine.arguments();
        arguments.extend(["-kernel".into(), image.display().to_string()]);
        arguments.extend(["-dtb".into(), dtb.display().to_string()]);
        arguments.extend(placed.iter().flat_map(loader));
        arguments.extend(devices);
        let starves = hypervisor == Hypervisor::Xen && machine.icount && machine.cpus > 1;
        let control = starves.then(|| scratch.path().join("qmp"));
        arguments.extend(control.iter().flat_map(|socket| Turns::arguments(socket)));
        let names = config.domains.iter().map(|domain| domain.name.clone()).collect();
        Ok(Self { arguments, names, hypervisor, interactive, program, network, token, control, _scratch: scratch })
    }

    /// Has the machine wait for a debugger on port 1234 before its first instruction.
    pub fn wait_for_debugger(&mut self) {
        self.arguments.extend(["-s".into(), "-S".into()]);
    }

    /// By what others find this machine, which was prepared from `config`, while it runs.
    #[must_use]
    pub fn state(&self, config: &Config) -> State {
        network::state(config, self.network.as_ref(), &self.token)
    }

    /// The console of this machine, shown on `out`.
    pub fn console<'a>(&self, out: impl Write + 'a) -> Console<'a> {
        let console = Console::new(self.hypervisor, self.names.clone(), out);
        if self.interactive { console.on_terminal() } else { console }
    }

    /// Switches the machine on, and follows `console` to its end.
    ///
    /// # Errors
    ///
    /// QEMU fails, or the console cannot be shown.
    pub fn run(&self, timeout: Option<Duration>, mut console: Console<'_>) -> Result<(End, Heard)> {
        let _turns = self.control.clone().map(Turns::begin);
        let end = session::run(&self.arguments, self.interactive, timeout, &mut console)?;
        let heard = console.finish().into_diagnostic().wrap_err("cannot show the console")?;
        Ok((end, heard))
    }

    /// Those of the hypervisor's last words that have an address or a syndrome in them, with what these mean: functions and
    /// lines, or what happened.
    #[must_use]
    pub fn explain(&self, heard: &Heard) -> Vec<String> {
        let symbols = self.program.as_ref().and_then(|program| Symbols::open(&program.elf).ok());
        let Some(symbols) = symbols else { return Vec::new() };
        let explain = |line: &String| {
            let meanings: Vec<_> = symbols.explain(line).into_iter().chain(syndrome::explain(line)).collect();
            let said = (!meanings.is_empty()).then(|| line.clone());
            said.into_iter().chain(meanings.into_iter().map(|meaning| format!("    {meaning}")))
        };
        heard.last_words.iter().flat_map(explain).collect()
    }

    /// Where the hypervisor's symbols are, if it is ours.
    #[must_use]
    pub fn symbols(&self) -> Option<&PathBuf> {
        self.program.as_ref().map(|program| &program.elf)
    }
}

/// What must be there before `config` can be built and run.
pub(crate) fn needs(config: &Config, hypervisor: Hypervisor) -> Vec<Need> {
    let mut needs = vec![Need::Qemu];
    match hypervisor {
        Hypervisor::Mote => needs.extend([setup::Target::Hypervisor, setup::Target::Guest].map(Need::Target)),
        Hypervisor::Xen => needs.push(Need::Xen),
    }
    let modules = config.domains.iter().flat_map(|domain| &domain.modules);
    needs.extend(modules.filter_map(|module| match &module.source {
        Source::File(_) => None,
        Source::DebianKernel(version) => Linux::from_version(version).map(Need::Kernel),
        Source::DebianInitramfs(version) => Linux::from_version(version).map(Need::Initramfs),
        Source::Guest(_) => Some(Need::Target(setup::Target::Guest)),
    }));
    needs
}

/// The files of all modules. Only now is it known whether what was fetched and built fits its guest; what was a file before
/// was checked with the configuration.
pub(crate) fn files(config: &Config) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for domain in &config.domains {
        for module in &domain.modules {
            let file = file(module)?;
            if module.role == Role::Kernel && !matches!(module.source, Source::File(_)) {
                kernel::check(&file.path, domain.memory)
                    .map_err(|(what, help)| Failure::misused(vec![miette!(help = help, "{}: {what}", module.node)]))?;
            }
            files.push(file);
        }
    }
    Ok(files)
}

/// The file with a module's bytes; a guest of the workspace is built.
pub(crate) fn file(module: &Module) -> Result<File> {
    let paths = Paths::of_workspace();
    let linux = |version: &String| {
        Linux::from_version(version).ok_or_else(|| Failure::unable(miette!("there is no Debian kernel {version}")))
    };
    let path = match &module.source {
        Source::File(path) => path.clone(),
        Source::DebianKernel(version) => paths.kernel(linux(version)?),
        Source::DebianInitramfs(version) => paths.initramfs(linux(version)?),
        Source::Guest(name) => build::guest(name)?.image,
    };
    let size = std::fs::metadata(&path)
        .map_err(|error| Failure::unable(miette!("cannot read {}: {error}", path.display())))?
        .len();
    Ok(File { node: module.node.clone(), path, size })
}

/// QEMU's arguments for a guest's disk.
pub(crate) fn disk((number, disk): (usize, &Disk)) -> [String; 4] {
    let (file, read_only) = (escape(&disk.file), if disk.read_only { "on" } else { "off" });
    let drive = format!("if=none,id=disk{number},format=raw,file={file},read-only={read_only}");
    // What the host cannot read or write, as when its disk is full, is an error for that guest; QEMU would rather stop the machine.
    let device = format!("virtio-blk-device,drive=disk{number},serial={},rerror=report,werror=report", disk.serial);
    ["-drive".into(), drive, "-device".into(), device]
}

/// QEMU's arguments that put a module into memory.
pub(crate) fn loader(placed: &Placed) -> [String; 2] {
    let (file, address) = (escape(&placed.file.path), placed.range.base().0);
    ["-device".into(), format!("loader,file={file},addr={address:#x},force-raw=on")]
}
