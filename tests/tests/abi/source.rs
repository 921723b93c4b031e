//! What the crate declares, read from its source.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mote_tools::workspace;
use syn::{Ident, ImplItem, Item, ItemEnum, ItemImpl, ItemMacro, Visibility};

/// Macros that declare structures, and macros that declare constants of the type of the first name.
const STRUCTURES: &str = "wire";
const CONSTANTS: [(&str, &str); 1] = [("errors", "Errno")];

/// Names of what is public, each with the path to it, as in `memory::op::EXCHANGE`.
#[derive(Debug, Default)]
pub struct Declared {
    /// Constants, variants of enumerations among them.
    pub constants: BTreeSet<String>,
    /// Modules with structures.
    pub with_structures: BTreeSet<String>,
}

/// Everything that the crate declares.
pub fn declared() -> Declared {
    let mut declared = Declared::default();
    let directory = workspace::root().join("hypervisor/abi/src");
    for entry in fs::read_dir(&directory).expect("the crate's source") {
        let path = entry.expect("an entry").path();
        assert!(path.is_file(), "{} is a directory: modules are files here", path.display());
        read(&path, &mut declared);
    }
    assert!(!declared.constants.is_empty() && !declared.with_structures.is_empty());
    declared
}

fn read(path: &Path, declared: &mut Declared) {
    let module = path.file_stem().expect("a name").to_string_lossy();
    let file = syn::parse_file(&fs::read_to_string(path).expect("readable")).expect("Rust");
    // The root declares what declares the others, and Xen has nothing of what is Mote's.
    if module != "lib" && module != "mote" {
        declared.add(&module, &file.items);
    }
}

impl Declared {
    fn add(&mut self, path: &str, items: &[Item]) {
        for item in items {
            match item {
                Item::Mod(module) => {
                    let (_, items) = module.content.as_ref().expect("a module in its place");
                    self.add(&format!("{path}::{}", module.ident), items);
                }
                Item::Const(constant) if is_public(&constant.vis) => self.constant(path, &constant.ident),
                Item::Enum(variants) if is_public(&variants.vis) => self.variants(path, variants),
                Item::Impl(block) => self.associated(path, block),
                Item::Macro(call) => self.macro_call(path, call),
                Item::Struct(structure) => self.structure(path, &structure.ident),
                Item::Static(_) | Item::Union(_) => panic!("{path} has what this test cannot read yet"),
                _ => {}
            }
        }
    }

    fn constant(&mut self, path: &str, name: &Ident) {
        self.constants.insert(format!("{path}::{name}"));
    }

    fn variants(&mut self, path: &str, variants: &ItemEnum) {
        let path = format!("{path}::{}", variants.ident);
        variants.variants.iter().for_each(|variant| self.constant(&path, &variant.ident));
    }

    fn associated(&mut self, path: &str, block: &ItemImpl) {
        let syn::Type::Path(of) = &*block.self_ty else { return };
        let of = of.path.get_ident().expect("a plain name");
        for item in &block.items {
            match item {
                ImplItem::Const(constant) => self.constant(&format!("{path}::{of}"), &constant.ident),
                ImplItem::Macro(_) => panic!("{path}::{of} has what this test cannot read yet"),
                _ => {}
            }
        }
    }

    fn macro_call(&mut self, path: &str, call: &ItemMacro) {
        let name = call.mac.path.get_ident().expect("a plain name").to_string();
        let constants = CONSTANTS.iter().find(|(constants, _)| *constants == name);
        if name == STRUCTURES {
            self.with_structures.insert(path.into());
        } else if let Some((_, of)) = constants {
            for name in assigned(call.mac.tokens.to_string()) {
                self.constants.insert(format!("{path}::{of}::{name}"));
            }
        } else {
            assert_eq!(name, "macro_rules", "{path} has what this test cannot read yet");
        }
    }

    /// Those outside `wire!` are no part of the ABI; each is known by name.
    fn structure(&self, path: &str, name: &Ident) {
        let path = format!("{path}::{name}");
        let known = ["arch_arm::Window", "errno::Errno"];
        assert!(known.contains(&path.as_str()), "{path} is not declared by `{STRUCTURES}!`");
    }
}

/// The names before an equals sign, documentation aside.
fn assigned(tokens: String) -> Vec<String> {
    let mut words = tokens.split_whitespace().peekable();
    let mut names = Vec::new();
    while let Some(word) = words.next() {
        if words.peek() == Some(&"=") && word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()) {
            names.push(word.to_owned());
        }
    }
    names
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}
