//! Starting QEMU, passing the guest's output on while it runs, and never leaving it behind.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::util::{run, say};

/// One boot.
#[derive(Debug)]
pub struct Boot<'a> {
    /// The kernel image.
    pub image: &'a Path,
    /// The initramfs.
    pub initrd: &'a Path,
    /// Where console and files of the guest go meanwhile.
    pub dir: &'a Path,
    /// Where the guest's `/out` goes, if anything is in it.
    pub out: Option<&'a Path>,
    /// After this the guest is stopped.
    pub timeout: Duration,
    /// A shell on the terminal instead of a job.
    pub interactive: bool,
    /// Put before each line that the guest writes, where several run at once.
    pub prefix: &'a str,
    /// One processor, one virtual nanosecond an instruction: the same counts on every machine.
    pub deterministic: bool,
}

/// How a guest ended.
#[derive(Debug)]
pub struct Ended {
    /// The job's exit code.
    pub code: u8,
    /// What the job wrote to its standard output.
    pub stdout: String,
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static HANDLER: Once = Once::new();

/// Boots and waits for the end.
pub fn boot(mut qemu: Command, boot: &Boot<'_>) -> Result<Ended> {
    HANDLER.call_once(|| {
        // Without a handler Ctrl-C would leave the scratch folder behind: worse, but no reason to stop.
        let _ = ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed));
    });
    let console = boot.dir.join("console.log");
    let files = boot.dir.join("files.tar");
    let code = boot.dir.join("code");
    arguments(&mut qemu, boot, &console);
    for (name, path) in [("files", &files), ("code", &code)] {
        port(&mut qemu, name, path);
    }
    if !boot.interactive {
        qemu.stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
    }
    // SAFETY: prctl with PR_SET_PDEATHSIG is async-signal-safe and touches no memory of ours.
    unsafe {
        qemu.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let mut child = qemu.spawn().context("QEMU does not start")?;
    let out = child
        .stdout
        .take()
        .map(|pipe| pass_on(pipe, io::stdout(), false, boot.prefix));
    let err = child
        .stderr
        .take()
        .map(|pipe| pass_on(pipe, io::stderr(), true, boot.prefix));
    let limit = Instant::now() + boot.timeout;
    let mut stopped = None;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if stopped.is_none() {
            if INTERRUPTED.load(Ordering::Relaxed) {
                stopped = Some("interrupted".to_owned());
            } else if !boot.interactive && Instant::now() > limit {
                stopped = Some(format!(
                    "the guest took longer than {} s",
                    boot.timeout.as_secs()
                ));
            }
            if stopped.is_some() {
                child.kill()?;
            }
        }
        thread::sleep(Duration::from_millis(20));
    };
    let stdout = joined(out);
    joined(err);
    // QEMU hears Ctrl-C too, and may be gone before we look.
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted; the guest is stopped");
    }
    if let Some(why) = stopped {
        show_console(&console);
        bail!("{why}");
    }
    if let Some(into) = boot.out
        && fs::metadata(&files).is_ok_and(|m| m.len() > 0)
    {
        fs::create_dir_all(into)?;
        run(Command::new("tar")
            .arg("-xf")
            .arg(&files)
            .arg("-C")
            .arg(into))?;
        say(format!("the guest's /out is in {}", into.display()));
    }
    // The guest's last word is the job's exit code; without it the guest did not come that far.
    let code = fs::read_to_string(&code).unwrap_or_default();
    if let Ok(code) = code.trim().parse() {
        return Ok(Ended { code, stdout });
    }
    show_console(&console);
    if status.success() {
        bail!("the guest's kernel panicked before the job's end");
    }
    bail!("QEMU: {status}");
}

/// A named stream from the guest into a file. Not QEMU's stdio: its end of input closes the port.
fn port(qemu: &mut Command, name: &str, path: &Path) {
    qemu.arg("-chardev")
        .arg(format!("file,id={name},path={}", path.display()));
    qemu.arg("-device")
        .arg(format!("virtserialport,chardev={name},name={name}"));
}

fn arguments(qemu: &mut Command, boot: &Boot<'_>, console: &Path) {
    qemu.args([
        "-display",
        "none",
        "-no-reboot",
        "-nodefaults",
        "-cpu",
        "max",
        "-m",
        "2048",
    ]);
    if boot.deterministic {
        qemu.args(["-accel", "tcg", "-icount", "shift=0,sleep=off", "-smp", "1"]);
    } else {
        // Its two processors take turns in one thread. With a thread each, one now and then runs code that the other has
        // just patched ("Oops: int3" in a branch with a static key), and two guests side by side are slower.
        qemu.args(["-accel", "tcg,thread=single", "-smp", "2"]);
    }
    qemu.arg("-kernel")
        .arg(boot.image)
        .arg("-initrd")
        .arg(boot.initrd);
    // 5.10 and 6.1 would choose hpet as their clock.
    qemu.args([
        "-append",
        "console=ttyS0 panic=-1 quiet net.ifnames=0 tsc=reliable clocksource=tsc",
    ]);
    qemu.args(["-device", "virtio-serial-pci"]);
    if boot.interactive {
        qemu.args(["-serial", "mon:stdio"]);
    } else {
        qemu.args(["-monitor", "none", "-serial"])
            .arg(format!("file:{}", console.display()));
        port(qemu, "out", Path::new("/proc/self/fd/1"));
        port(qemu, "err", Path::new("/proc/self/fd/2"));
    }
    // Two network cards on one wire: moved into namespaces of their own they give the real path from
    // interrupt to NAPI to driver in one guest.
    for card in ["1", "2"] {
        qemu.arg("-netdev")
            .arg(format!("hubport,id=wire{card},hubid=1"));
        qemu.arg("-device").arg(format!(
            "virtio-net-pci,netdev=wire{card},mac=52:54:00:00:00:0{card},romfile="
        ));
    }
}

/// Reads QEMU's word on the two cards' wire having no third end, which comes first and is as meant;
/// gives what else came instead.
fn without_warning(pipe: &mut impl BufRead) -> Vec<u8> {
    let mut first = Vec::new();
    // What cannot be read here cannot be read by the caller either.
    let _ = pipe.read_until(b'\n', &mut first);
    if first.starts_with(b"qemu-system-x86_64: warning: hub ") {
        first.clear();
    }
    first
}

/// Copies what comes in to where we write, and keeps it.
fn pass_on(
    from: impl Read + Send + 'static,
    mut to: impl io::Write + Send + 'static,
    warns: bool,
    prefix: &str,
) -> JoinHandle<Vec<u8>> {
    let prefix = prefix.to_owned();
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut kept = if warns {
            without_warning(&mut from)
        } else {
            Vec::new()
        };
        let _ = to.write_all(&kept).and_then(|()| to.flush());
        if !prefix.is_empty() {
            // Whole lines: others write, too.
            let mut line = Vec::new();
            while let Ok(1..) = from.read_until(b'\n', &mut line) {
                let whole = [prefix.as_bytes(), &line].concat();
                let _ = to.write_all(&whole).and_then(|()| to.flush());
                kept.append(&mut line);
            }
            return kept;
        }
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let chunk = &buffer[..read];
            // A reader that has gone does not stop the guest.
            let _ = to.write_all(chunk).and_then(|()| to.flush());
            kept.extend_from_slice(chunk);
        }
        kept
    })
}

fn joined(thread: Option<JoinHandle<Vec<u8>>>) -> String {
    let kept = thread.and_then(|t| t.join().ok()).unwrap_or_default();
    String::from_utf8_lossy(&kept).into_owned()
}

/// The end of the guest's console, for when it failed.
fn show_console(console: &PathBuf) {
    let log = fs::read(console).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().collect();
    say("the end of the guest's console:");
    for line in &lines[lines.len().saturating_sub(30)..] {
        let _ = writeln!(io::stderr(), "  {line}");
    }
}
