//! JSON records: what a reader relies on.

use serde_json::Value;

use super::*;
use crate::sink::sample;

/// What the sink writes, line by line.
fn lines(write: impl FnOnce(&mut Json<Vec<u8>>) -> io::Result<()>) -> Vec<Value> {
    let mut json = Json::new(Vec::new());
    write(&mut json).expect("a vector takes everything");
    let text = String::from_utf8(json.out).expect("JSON is UTF-8");
    assert!(text.ends_with('\n'));
    text.lines()
        .map(|line| serde_json::from_str(line).expect("one object a line"))
        .collect()
}

#[test]
fn the_first_key_is_the_type() {
    let mut json = Json::new(Vec::new());
    json.session(&sample::session())
        .expect("a vector takes everything");
    assert!(
        json.out
            .starts_with(b"{\"type\":\"session\",\"schema_version\":1,")
    );
}

#[test]
fn flow_keys_are_opentelemetrys() {
    let lines = lines(|json| json.journey(&sample::delivered(), &sample::names()));
    let flow = &lines[0]["flow"];
    assert_eq!(flow["network.type"], "ipv4");
    assert_eq!(flow["network.transport"], "tcp");
    assert_eq!(flow["source.address"], "10.0.0.1");
    assert_eq!(flow["source.port"], 1234);
    assert_eq!(flow["destination.address"], "10.0.0.2");
    assert_eq!(flow["destination.port"], 80);
}
