//! Kernel addresses to function names, by way of blazesym and `/proc/kallsyms`.
//!
//! Reading kallsyms takes some 60 ms and ten megabytes, so it is left until the first address is asked for (usually the
//! first drop), or done beside other work. What was resolved is kept, both to be quick and to be written into a
//! recording, which is read on another machine: [`SymbolTable`] then answers instead of [`Symbols`], and both are a
//! [`Resolve`].
//!
//! kallsyms is read once. Functions of modules and eBPF programs that are loaded later have no name, rather than that of
//! their neighbour: nothing is taken for part of a function that begins more than a mebibyte before it.

use std::{collections::BTreeMap, fs, io, path::PathBuf, sync::mpsc, thread};

use blazesym::{
    MaybeDefault,
    symbolize::{
        Input, Reason, Symbolized, Symbolizer,
        source::{Kernel, Source},
    },
};
use serde::{Deserialize, Serialize};

const KALLSYMS: &str = "/proc/kallsyms";
const MODULES: &str = "/proc/modules";
/// kallsyms knows where functions begin but not where they end; none is as long as this.
const LONGEST_FUNCTION: u64 = 1 << 20;

/// Where in the kernel an address lies; empty when not known.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Symbol {
    /// The function, as the kernel calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Bytes from the function's beginning; 0 when it is not known.
    #[serde(default)]
    pub offset: u64,
    /// The module it belongs to; `bpf` for eBPF programs and trampolines, none for the kernel itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// The line of source, where a vmlinux with debug information was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceLine>,
}

/// A line of the kernel's source.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SourceLine {
    /// Path, as the compiler was given it.
    pub file: String,
    /// Line, counted from 1.
    pub line: u32,
}

/// Whatever can tell what lies at a kernel address.
pub trait Resolve {
    /// What lies at this very address.
    fn resolve(&mut self, addr: u64) -> Symbol;

    /// What called, given the address it would have returned to, as in a stack or a drop's location.
    ///
    /// The same as [`resolve`](Self::resolve), but when a call was the last instruction of its function (for it never
    /// returns) the address is the beginning of the next one, and the caller is the function before.
    fn resolve_return(&mut self, addr: u64) -> Symbol {
        let symbol = self.resolve(addr);
        match addr.checked_sub(1) {
            Some(before) if symbol.function.is_some() && symbol.offset == 0 => {
                let symbol = self.resolve(before);
                Symbol {
                    offset: symbol.offset + u64::from(symbol.function.is_some()),
                    ..symbol
                }
            }
            _ => symbol,
        }
    }

    /// A whole stack of return addresses.
    fn resolve_stack(&mut self, stack: &[u64]) -> Vec<Symbol> {
        stack
            .iter()
            .map(|addr| self.resolve_return(*addr))
            .collect()
    }
}

/// Symbols resolved before, by address; a recording carries one.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SymbolTable {
    symbols: BTreeMap<u64, Symbol>,
}

impl SymbolTable {
    /// Adds what lies at an address.
    pub fn insert(&mut self, addr: u64, symbol: Symbol) {
        self.symbols.insert(addr, symbol);
    }

    /// What is known of an address.
    pub fn get(&self, addr: u64) -> Option<&Symbol> {
        self.symbols.get(&addr)
    }

    /// All, by address.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Symbol)> {
        self.symbols.iter().map(|(addr, symbol)| (*addr, symbol))
    }

    /// How many addresses are known.
    pub fn len(&self) -> usize {
        self.symbols.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }
}

impl Resolve for SymbolTable {
    fn resolve(&mut self, addr: u64) -> Symbol {
        self.get(addr).cloned().unwrap_or_default()
    }
}

/// The running kernel's symbols.
///
/// kallsyms is read and searched on a thread of its own, for three reasons: it can go on while the caller does other
/// things ([`preload`](Symbols::preload)), blazesym's symbolizer is not `Send`, and should it ever panic over an odd
/// file, then names are lost and nothing else.
#[derive(Default)]
pub struct Symbols {
    table: SymbolTable,
    vmlinux: Option<PathBuf>,
    worker: Option<Worker>,
    unavailable: Option<String>,
}

impl Symbols {
    /// Reads nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with source lines from a kernel image that has debug information (`vmlinux`, uncompressed). Names
    /// still come from kallsyms, so a vmlinux that is of no use takes nothing away.
    pub fn with_vmlinux(vmlinux: PathBuf) -> Self {
        Self {
            vmlinux: Some(vmlinux),
            ..Self::default()
        }
    }

    /// Begins to read kallsyms, and returns at once. Without this, the first [`resolve`](Resolve::resolve) waits for it.
    pub fn preload(&mut self) {
        if self.worker.is_none() && self.unavailable.is_none() {
            match Worker::start(self.vmlinux.clone()) {
                Ok(worker) => self.worker = Some(worker),
                Err(error) => self.unavailable = Some(format!("cannot start a thread: {error}")),
            }
        }
    }

    /// What was resolved so far.
    pub fn table(&self) -> &SymbolTable {
        &self.table
    }

    /// Why functions have no names on this machine, once that is known; to be told to the user once.
    pub fn unavailable(&self) -> Option<&str> {
        self.unavailable.as_deref()
    }

    /// Looks those up that are not known yet, all in one go: a round trip to the other thread takes far longer than
    /// the look-up itself.
    fn look_up(&mut self, addresses: &[u64]) {
        let unknown = addresses
            .iter()
            .filter(|addr| self.table.get(**addr).is_none());
        let unknown: Vec<u64> = unknown.copied().collect();
        if unknown.is_empty() {
            return;
        }
        self.preload();
        let Some(worker) = &self.worker else {
            return;
        };
        match worker.ask(unknown.clone()) {
            Ok(symbols) => unknown
                .into_iter()
                .zip(symbols)
                .for_each(|(addr, symbol)| self.table.insert(addr, symbol)),
            Err(why) => {
                self.unavailable = Some(why);
                self.worker = None;
            }
        }
    }
}

impl Resolve for Symbols {
    fn resolve(&mut self, addr: u64) -> Symbol {
        self.look_up(&[addr]);
        self.table.resolve(addr)
    }

    fn resolve_stack(&mut self, stack: &[u64]) -> Vec<Symbol> {
        self.look_up(stack);
        stack
            .iter()
            .map(|addr| self.resolve_return(*addr))
            .collect()
    }
}

/// The thread that holds kallsyms; ends when this is dropped.
struct Worker {
    addresses: mpsc::Sender<Vec<u64>>,
    answers: mpsc::Receiver<Result<Vec<Symbol>, String>>,
}

impl Worker {
    fn start(vmlinux: Option<PathBuf>) -> io::Result<Self> {
        let (addresses, asked) = mpsc::channel::<Vec<u64>>();
        let (answer, answers) = mpsc::channel();
        thread::Builder::new()
            .name("symbols".to_owned())
            .spawn(move || {
                let loaded = Loaded::new(vmlinux);
                // The first look-up, of whatever address, is what reads the file.
                let _ = loaded.symbol(0);
                for addresses in asked {
                    let symbols = addresses.iter().map(|addr| loaded.symbol(*addr)).collect();
                    if answer.send(symbols).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { addresses, answers })
    }

    /// What lies at each address; an error when there are no symbols at all.
    fn ask(&self, addresses: Vec<u64>) -> Result<Vec<Symbol>, String> {
        let gone = || "reading them failed".to_owned();
        self.addresses.send(addresses).map_err(|_| gone())?;
        self.answers.recv().map_err(|_| gone())?
    }
}

struct Loaded {
    symbolizer: Symbolizer,
    kallsyms: Source<'static>,
    vmlinux: Option<Source<'static>>,
    modules: Vec<Module>,
}

impl Loaded {
    fn new(vmlinux: Option<PathBuf>) -> Self {
        // Without auto_reload the file is not looked at again for each batch.
        let symbolizer = Symbolizer::builder()
            .enable_auto_reload(false)
            .enable_inlined_fns(false)
            .enable_demangling(false)
            .build();
        let kallsyms = Kernel {
            kallsyms: MaybeDefault::Some(PathBuf::from(KALLSYMS)),
            vmlinux: MaybeDefault::None,
            debug_syms: false,
            ..Kernel::default()
        };
        let vmlinux = vmlinux.map(|path| {
            Source::Kernel(Kernel {
                kallsyms: MaybeDefault::Default,
                vmlinux: MaybeDefault::Some(path),
                ..Kernel::default()
            })
        });
        let modules = fs::read_to_string(MODULES).unwrap_or_default();
        Self {
            symbolizer,
            kallsyms: Source::Kernel(kallsyms),
            vmlinux,
            modules: parse_modules(&modules),
        }
    }

    fn symbol(&self, addr: u64) -> Result<Symbol, String> {
        Ok(match self.function(addr)? {
            Some((function, offset)) => Symbol {
                module: self.module(&function, addr),
                source: self.source(addr),
                function: Some(function),
                offset,
            },
            None => Symbol::default(),
        })
    }

    /// Name and offset; an error when there are no symbols at all.
    fn function(&self, addr: u64) -> Result<Option<(String, u64)>, String> {
        match self
            .symbolizer
            .symbolize_single(&self.kallsyms, Input::AbsAddr(addr))
        {
            Ok(Symbolized::Sym(symbol)) => {
                let offset = symbol.offset as u64;
                Ok((offset < LONGEST_FUNCTION).then(|| (symbol.name.into_owned(), offset)))
            }
            Ok(Symbolized::Unknown(Reason::MissingSyms)) => Err(why_hidden()),
            Ok(Symbolized::Unknown(_)) => Ok(None),
            Err(error) => Err(format!("{KALLSYMS} cannot be read: {error}")),
        }
    }

    fn module(&self, function: &str, addr: u64) -> Option<String> {
        if is_bpf(function) {
            return Some("bpf".to_owned());
        }
        // The nearest that begins at or before the address.
        let module = self
            .modules
            .iter()
            .filter(|module| module.start <= addr)
            .max_by_key(|module| module.start)?;
        (addr - module.start < module.size).then(|| module.name.clone())
    }

    fn source(&self, addr: u64) -> Option<SourceLine> {
        // The address of a call's return belongs to the line after it; its last byte is one earlier.
        let input = Input::AbsAddr(addr.saturating_sub(1));
        let symbolized = self
            .symbolizer
            .symbolize_single(self.vmlinux.as_ref()?, input)
            .ok()?;
        let code = symbolized.into_sym()?.code_info?;
        Some(SourceLine {
            file: code.to_path().to_string_lossy().into_owned(),
            line: code.line?,
        })
    }
}

struct Module {
    name: String,
    start: u64,
    size: u64,
}

/// Lines of `/proc/modules`: name, size, references, users, state, address. The address is 0 when it is hidden.
fn parse_modules(text: &str) -> Vec<Module> {
    let parse = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (name, size) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
        let start = u64::from_str_radix(words.nth(3)?.trim_start_matches("0x"), 16).ok()?;
        (start != 0).then_some(Module { name, start, size })
    };
    text.lines().filter_map(parse).collect()
}

/// `bpf_prog_<16 hex digits>_name` and `bpf_trampoline_<number>`; the kernel has functions of its own that begin alike.
fn is_bpf(function: &str) -> bool {
    let is_tag = |tag: &str| {
        tag.get(..16)
            .is_some_and(|tag| tag.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    function.strip_prefix("bpf_prog_").is_some_and(is_tag)
        || function
            .strip_prefix("bpf_trampoline_")
            .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

fn why_hidden() -> String {
    match fs::read_to_string("/proc/sys/kernel/kptr_restrict")
        .as_deref()
        .map(str::trim_ascii)
    {
        Ok("2") => "the kernel hides its addresses (kernel.kptr_restrict is 2)".to_owned(),
        _ => format!("{KALLSYMS} shows no addresses to this user (CAP_SYSLOG may be missing)"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Address of a function, or `None` where addresses are hidden.
    fn address(wanted: &str) -> Option<u64> {
        let text = fs::read_to_string(KALLSYMS).ok()?;
        let line = text
            .lines()
            .find(|line| line.split(' ').nth(2) == Some(wanted))?;
        u64::from_str_radix(line.split(' ').next()?, 16)
            .ok()
            .filter(|addr| *addr != 0)
    }

    fn symbol(function: &str, offset: u64) -> Symbol {
        Symbol {
            function: Some(function.to_owned()),
            offset,
            ..Symbol::default()
        }
    }

    #[test]
    fn running_kernel() {
        let Some(addr) = address("ip_rcv") else {
            return;
        };
        let mut symbols = Symbols::new();
        assert_eq!(symbols.resolve(addr + 5), symbol("ip_rcv", 5));
        assert_eq!(symbols.resolve(addr), symbol("ip_rcv", 0));
        assert_eq!(symbols.resolve_return(addr + 5), symbol("ip_rcv", 5));
        assert_ne!(
            symbols.resolve_return(addr).function.as_deref(),
            Some("ip_rcv")
        );
        for nowhere in [0, 1, 0x1000, u64::MAX] {
            assert_eq!(symbols.resolve(nowhere), Symbol::default(), "{nowhere:#x}");
        }
        assert_eq!(
            symbols.resolve_stack(&[addr + 5, 0]),
            [symbol("ip_rcv", 5), Symbol::default()]
        );
        assert_eq!(symbols.unavailable(), None);
        assert_eq!(symbols.table().get(addr + 5), Some(&symbol("ip_rcv", 5)));
    }

    #[test]
    fn moved_to_another_thread_and_loaded_ahead() {
        let Some(addr) = address("ip_rcv") else {
            return;
        };
        let mut symbols = Symbols::new();
        symbols.preload();
        let found = thread::spawn(move || symbols.resolve(addr + 5))
            .join()
            .unwrap();
        assert_eq!(found, symbol("ip_rcv", 5));
    }

    #[test]
    fn a_vmlinux_of_no_use_takes_no_names_away() {
        let Some(addr) = address("ip_rcv") else {
            return;
        };
        for path in ["/nonexistent/vmlinux", "/proc/self/exe", "/dev/null"] {
            assert_eq!(
                Symbols::with_vmlinux(path.into()).resolve(addr + 5),
                symbol("ip_rcv", 5),
                "{path}"
            );
        }
    }

    #[test]
    fn a_table_answers_for_another_machine() {
        let mut table = SymbolTable::default();
        table.insert(0x100, symbol("next", 0));
        table.insert(0xff, symbol("caller", 0x1f));
        let json = serde_json::to_string(&table).unwrap();
        let mut table: SymbolTable = serde_json::from_str(&json).unwrap();
        assert_eq!(table.resolve(0x100), symbol("next", 0));
        assert_eq!(table.resolve_return(0x100), symbol("caller", 0x20));
        assert_eq!(table.resolve_return(0x200), Symbol::default());
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn modules_and_programs() {
        let modules = parse_modules(
            "nf_tables 364544 2 nft_ct,nft_nat, Live 0xffffffffc0a00000\nhidden 4096 0 - Live 0x0000000000000000\nbad\n",
        );
        assert_eq!(modules.len(), 1);
        let loaded = Loaded {
            modules,
            ..Loaded::new(None)
        };
        assert_eq!(
            loaded
                .module("nft_do_chain", 0xffff_ffff_c0a0_0010)
                .as_deref(),
            Some("nf_tables")
        );
        assert_eq!(loaded.module("ip_rcv", 0xffff_ffff_8100_0000), None);
        assert_eq!(loaded.module("other", 0xffff_ffff_c0b0_0000), None);
        assert!(
            is_bpf("bpf_prog_7cc47bbf07148bfe_hid_tail_call")
                && is_bpf("bpf_trampoline_6442536467")
        );
        assert!(
            !is_bpf("bpf_prog_alloc_no_stats")
                && !is_bpf("bpf_trampoline_link_prog")
                && !is_bpf("bpf_prog_")
        );
    }

    /// `cargo test --release -p trace-cli kernel::symbols::tests::timing -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    #[expect(clippy::print_stderr, reason = "its result is for people")]
    fn timing() {
        let addr = address("ip_rcv").unwrap();
        for _ in 0..3 {
            let start = Instant::now();
            let mut symbols = Symbols::new();
            let made = start.elapsed();
            let _ = symbols.resolve(addr + 5);
            let first = start.elapsed();
            let stack: Vec<u64> = (0..16).map(|frame| addr + 6 + frame * 64).collect();
            let _ = symbols.resolve_stack(&stack);
            eprintln!(
                "made {made:?}, first {first:?}, a stack of 16 {:?}",
                start.elapsed() - first
            );
        }
    }
}
