//! A process in a word: `curl[40]`.

use super::paint::clean;
use crate::dictionary::Dictionary;
use crate::journey::model::Process;

/// Name and process id; the thread's, when the process's is not known.
pub(super) fn process(process: &Process, names: &Dictionary) -> String {
    let known = names.thread(process.pid);
    let name = match (&*process.name, known) {
        ("", Some(thread)) => thread.name.as_str(),
        ("", None) => "?",
        (name, _) => name,
    };
    let pid = match (process.tgid, known.map_or(0, |thread| thread.tgid)) {
        (0, 0) => process.pid,
        (0, pid) | (pid, _) => pid,
    };
    format!("{}[{pid}]", clean(name))
}
