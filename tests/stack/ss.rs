//! What `ss` says, taken apart.

use std::collections::BTreeMap;

use pktjourney::lab::Netns;

use crate::tool::run;

/// One line of `ss -tunapiemO`.
#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    pub protocol: String,
    pub state: String,
    pub receive: u64,
    pub send: u64,
    pub local: String,
    pub peer: String,
    /// `name:value` and words, `skmem` and `users` and `timer` among them.
    pub words: BTreeMap<String, String>,
}

impl Line {
    /// `name:value`, as a number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.words.get(name)?.parse().ok()
    }
}

/// All sockets of a namespace.
pub fn sockets(netns: &Netns) -> Vec<Line> {
    let text = run(
        netns,
        "ss",
        &[
            "-H", "-n", "-t", "-u", "-a", "-p", "-i", "-e", "-m", "-o", "-O",
        ],
    );
    text.lines().map(line).collect()
}

fn line(line: &str) -> Line {
    let mut fields = line.split_ascii_whitespace();
    let mut next = || {
        fields
            .next()
            .unwrap_or_else(|| panic!("short: {line}"))
            .to_owned()
    };
    let (protocol, state) = (next(), next());
    let number = |text: String| text.parse().unwrap_or_else(|_| panic!("no number: {line}"));
    let (receive, send) = (number(next()), number(next()));
    let (local, peer) = (next(), next());
    let mut words = BTreeMap::new();
    let mut rate = None;
    for word in fields {
        // `delivery_rate 12bps`: the name, then its value.
        if let Some(name) = rate.take() {
            words.insert(name, word.trim_end_matches("bps").to_owned());
        } else if word.ends_with("_rate") {
            rate = Some(word.to_owned());
        } else if let Some((name, value)) = word.split_once(':') {
            words.insert(name.to_owned(), value.to_owned());
        } else {
            words.insert(word.to_owned(), String::new());
        }
    }
    Line {
        protocol,
        state,
        receive,
        send,
        local,
        peer,
        words,
    }
}

/// Numbers of `ss -s`, by name; its table as `TCP.IP`, `TCP.IPv6` and so on.
pub fn summary(netns: &Netns) -> BTreeMap<String, u64> {
    let text = run(netns, "ss", &["-s"]);
    let mut numbers = BTreeMap::new();
    for line in text.lines() {
        if let Some((_, list)) = line
            .strip_prefix("TCP:")
            .and_then(|line| line.split_once('('))
        {
            for part in list.trim_end_matches(')').split(", ") {
                let (name, value) = part.split_once(' ').expect("a name and a number");
                numbers.insert(name.to_owned(), value.parse().expect("a number"));
            }
        } else if let [name, _, v4, v6] = line.split_ascii_whitespace().collect::<Vec<_>>()[..]
            && let (Ok(v4), Ok(v6)) = (v4.parse(), v6.parse())
        {
            numbers.insert(format!("{name}.IP"), v4);
            numbers.insert(format!("{name}.IPv6"), v6);
        }
    }
    numbers
}
