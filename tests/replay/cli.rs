//! Through the command, with packets of our own in a namespace of our own. Needs root.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use pktjourney::lab::{LabError, Netns};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

type Result = std::result::Result<(), LabError>;

/// Emulated machines are slow.
const PATIENCE: Duration = Duration::from_secs(120);
const DATAGRAMS: usize = 20;

fn binary() -> OsString {
    std::env::var_os("PKTJOURNEY_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_pktjourney").into())
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).env("NO_COLOR", "1");
    command
}

fn replay(arguments: &[&str], path: &Path) -> Output {
    let path = path.to_str().unwrap();
    command(&[arguments, &["-r", path]].concat())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// A namespace, and a folder for what is recorded there.
struct Place {
    netns: Netns,
    folder: TempDir,
}

impl Place {
    /// `None` when we may not trace.
    #[expect(clippy::print_stderr, reason = "says that a test was left out")]
    fn new(label: &str) -> std::result::Result<Option<Self>, LabError> {
        if !geteuid().is_root() {
            eprintln!("skipped: tracing needs root");
            return Ok(None);
        }
        Ok(Some(Self {
            netns: Netns::new(label)?,
            folder: tempfile::tempdir().unwrap(),
        }))
    }

    /// Traces this namespace into `live` and `recording`, from when all probes are in place.
    fn trace(&self, arguments: &[&str]) -> Live {
        let live = self.folder.path().join("live");
        let recording = self.folder.path().join("recording");
        let child = command(&["trace", "--json", "--netns", self.netns.name(), "-w"])
            .arg(&recording)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(File::create(&live).unwrap())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let live = Live(child);
        let path = self.folder.path().join("live");
        let begun = until(|| fs::read_to_string(&path).is_ok_and(|text| text.contains('\n')));
        assert!(begun, "no session within {PATIENCE:?}");
        live
    }

    fn live(&self) -> String {
        fs::read_to_string(self.folder.path().join("live")).unwrap()
    }

    /// What the recording gives for the same question.
    fn replay(&self, arguments: &[&str]) -> Output {
        let same = ["trace", "--json", "--netns", self.netns.name()];
        let recording = self.folder.path().join("recording");
        replay(&[&same, arguments].concat(), &recording)
    }

    /// Datagrams that arrive, one that does not, and a TCP connection, all over lo.
    fn traffic(&self) -> Result {
        let failed = |error: io::Error| LabError::io("traffic over lo")(error);
        self.netns.enter(|| {
            let to = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
            let from = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
            let address = to.local_addr().map_err(failed)?;
            for _ in 0..DATAGRAMS {
                from.send_to(b"datagram", address).map_err(failed)?;
                to.recv(&mut [0; 16]).map_err(failed)?;
            }
            drop(to);
            from.send_to(b"nobody there", address).map_err(failed)?;

            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
            let mut client =
                TcpStream::connect(listener.local_addr().map_err(failed)?).map_err(failed)?;
            let (mut server, _) = listener.accept().map_err(failed)?;
            client.write_all(&[7; 100_000]).map_err(failed)?;
            drop(client);
            let read = server.read_to_end(&mut Vec::new()).map_err(failed)?;
            assert_eq!(read, 100_000);
            Ok(())
        })
    }
}

/// A running trace; killed when dropped.
struct Live(Child);

impl Live {
    fn signal(&mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn wait(&mut self) -> Option<i32> {
        assert!(
            until(|| self.0.try_wait().unwrap().is_some()),
            "still running after {PATIENCE:?}"
        );
        self.0.wait().unwrap().code()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Line by line, so that a failure shows which one.
fn assert_same(replayed: &str, live: &str) {
    for (number, (replayed, live)) in replayed.lines().zip(live.lines()).enumerate() {
        assert_eq!(replayed, live, "line {number}");
    }
    assert_eq!(replayed.len(), live.len(), "one is longer");
}

fn journeys(output: &str) -> usize {
    output.matches(r#""type":"journey""#).count()
}

#[test]
fn replay_gives_what_live_gave() -> Result {
    let Some(place) = Place::new("replay")? else {
        return Ok(());
    };
    let mut trace = place.trace(&[]);
    place.traffic()?;
    trace.signal(Signal::INT);
    assert_eq!(trace.wait(), Some(0));
    let live = place.live();
    assert!(journeys(&live) > DATAGRAMS, "{live}");

    let replayed = place.replay(&[]);
    assert!(replayed.status.success(), "{}", text(&replayed.stderr));
    assert_same(&text(&replayed.stdout), &live);

    // It can be asked other questions, of packets elsewhere too, and answers them the same each time.
    let path = place.folder.path().join("recording");
    for arguments in [
        &["trace"][..],
        &["trace", "--json", "udp"],
        &["latency", "--json"],
        &["drops", "--json"],
    ] {
        let output = replay(arguments, &path);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(!output.stdout.is_empty());
        assert_same(
            &text(&replay(arguments, &path).stdout),
            &text(&output.stdout),
        );
    }
    let udp = journeys(&text(&place.replay(&["udp"]).stdout));
    assert!((DATAGRAMS..journeys(&live)).contains(&udp), "{udp}");

    // From standard input.
    let piped = command(&["trace", "--json", "--netns", place.netns.name(), "-r", "-"])
        .stdin(File::open(&path).unwrap())
        .output()
        .unwrap();
    assert_same(&text(&piped.stdout), &live);
    Ok(())
}

#[test]
fn a_trace_that_stopped_at_its_count() -> Result {
    let Some(place) = Place::new("count")? else {
        return Ok(());
    };
    let mut trace = place.trace(&["-c", "5"]);
    place.traffic()?;
    assert_eq!(trace.wait(), Some(0));
    let live = place.live();
    assert_eq!(journeys(&live), 5, "{live}");
    let replayed = place.replay(&["-c", "5"]);
    assert!(replayed.status.success(), "{}", text(&replayed.stderr));
    assert_same(&text(&replayed.stdout), &live);
    Ok(())
}

#[test]
fn a_killed_trace_can_be_read_up_to_there() -> Result {
    let Some(place) = Place::new("killed")? else {
        return Ok(());
    };
    let mut trace = place.trace(&[]);
    place.traffic()?;
    let seen = until(|| journeys(&place.live()) > DATAGRAMS);
    assert!(seen, "{}", place.live());
    // What is a second old is in the file.
    thread::sleep(Duration::from_millis(1_500));
    trace.signal(Signal::KILL);
    assert_eq!(trace.wait(), None);
    let replayed = place.replay(&[]);
    assert_eq!(replayed.status.code(), Some(1));
    let complaint = text(&replayed.stderr);
    assert!(complaint.contains("breaks off at byte"), "{complaint}");
    let output = text(&replayed.stdout);
    let kept: Vec<_> = output
        .lines()
        .filter(|line| line.contains(r#""outcome":"delivered""#))
        .collect();
    assert!(kept.len() >= DATAGRAMS, "{output}");
    let live = place.live();
    for line in kept {
        if line.contains(r#""type":"journey""#) && !line.contains("trace_ended") {
            assert!(live.contains(line), "{line}");
        }
    }
    Ok(())
}

#[test]
fn what_is_no_recording() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capture.pcap");
    fs::write(&path, b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00").unwrap();
    let output = replay(&["trace"], &path);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let complaint = text(&output.stderr);
    assert!(complaint.contains("packet capture"), "{complaint}");
    let missing = replay(&["trace"], &folder.path().join("missing"));
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("No such file"));
}
