use super::segment::{ENTRY, HEAD};
use super::*;
use trace_ebpf::{DeviceName, Hook, MAX_ENTRIES, PACKET_BYTES, Tag, flags};

/// Numbers that look random and never change (xorshift64*).
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

fn sized(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    bytes[2..4].copy_from_slice(&length.to_ne_bytes());
    bytes
}

/// A segment with headers and two entries.
fn segment_bytes() -> Vec<u8> {
    let mut bytes = vec![Kind::Segment as u8, flags::PACKET | flags::CLONED, 0, 0];
    bytes.extend(3u16.to_ne_bytes());
    bytes.extend(0x0800u16.to_ne_bytes());
    for n in [0xffff_8880_0000_0100u64, 5_000, 0x77, 0x99] {
        bytes.extend(n.to_ne_bytes());
    }
    for n in [84u32, 4_026_531_840, 2, 0] {
        bytes.extend(n.to_ne_bytes());
    }
    bytes.extend([0x45; PACKET_BYTES]);
    bytes.extend([0, 0, 0, 0, Hook::Receive as u8, 0, 0, 0]);
    bytes.extend([7, 0, 0, 0, Tag::Poll as u8, 0, 0, 0]);
    sized(bytes)
}

fn drop_bytes() -> Vec<u8> {
    let mut bytes = vec![Kind::Drop as u8, 2, 0, 0, 1, 0, 0, 8];
    bytes.resize(size_of::<DropHead>() + MAX_STACK * 8, 9);
    sized(bytes)
}

fn other_bytes() -> Vec<Vec<u8>> {
    let of = |kind: Kind, second: u8, bytes: usize| {
        let mut record = vec![0; bytes];
        record[0] = kind as u8;
        record[1] = second;
        sized(record)
    };
    vec![
        segment_bytes(),
        drop_bytes(),
        of(Kind::Socket, 2, size_of::<SocketEvent>()),
        of(Kind::Poll, 0, size_of::<PollEvent>()),
        of(Kind::Device, 0, size_of::<DeviceName>()),
        of(Kind::Process, 0, size_of::<trace_ebpf::ProcessName>()),
    ]
}

#[test]
fn a_segment_is_read_field_by_field() {
    let bytes = segment_bytes();
    let Ok(Record::Segment(segment)) = decode(&bytes) else {
        panic!("not a segment");
    };
    assert_eq!(segment.cpu, 3);
    assert_eq!(segment.ether_type, 0x0800);
    assert_eq!(segment.skb, 0xffff_8880_0000_0100);
    assert_eq!((segment.t0, segment.head, segment.sk), (5_000, 0x77, 0x99));
    assert_eq!(
        (segment.len, segment.netns, segment.ifindex),
        (84, 4_026_531_840, 2)
    );
    assert_eq!(segment.headers(), Some([0x45; PACKET_BYTES]));
    let items: Vec<Item> = segment.items().collect();
    let receive = Item::Stamp {
        hook: Hook::Receive,
        time: 5_000,
        a: 0,
        b: 0,
    };
    assert_eq!(items, [receive, Item::Poll(7)]);
}

#[test]
fn a_segment_tells_of_calls() {
    let mut bytes = segment_bytes();
    let call = |value: u32, tag: Tag, a, b: u16| {
        let mut entry = value.to_ne_bytes().to_vec();
        entry.extend([tag as u8, a]);
        entry.extend(b.to_ne_bytes());
        entry
    };
    bytes.extend(call(70_000, Tag::Received, 2, 1));
    bytes.extend(call(42, Tag::Receiver, 0, 0));
    // of nobody
    bytes.extend(call(80_000, Tag::Received, 0, 0));
    let bytes = sized(bytes);
    let Ok(Record::Segment(segment)) = decode(&bytes) else {
        panic!("not a segment");
    };
    let said = Call {
        start: 5_000 + 70_000 - 258,
        end: 5_000 + 70_000,
        pid: 42,
    };
    assert_eq!(segment.calls().collect::<Vec<_>>(), [said]);
    assert_eq!(segment.items().count(), 5);
}

#[test]
fn a_drop_keeps_the_addresses_it_says() {
    let Ok(Record::Drop(drop)) = decode(&drop_bytes()) else {
        panic!("not a drop");
    };
    assert_eq!(drop.stack.len(), 2);
    assert_eq!(drop.reason, Some(0x0909_0909));
}

#[test]
fn names_end_at_nul_and_cannot_steer_a_terminal() {
    let mut bytes = vec![0; size_of::<DeviceName>()];
    bytes[0] = Kind::Device as u8;
    bytes[16..22].copy_from_slice(b"a\x1b[2J\0");
    let Ok(Record::Device(device)) = decode(&sized(bytes)) else {
        panic!("not a device");
    };
    assert_eq!(device.name, "a\u{fffd}[2J");
}

#[test]
fn every_kind_is_accepted_whole_and_refused_cut() {
    for bytes in other_bytes() {
        assert!(decode(&bytes).is_ok(), "{bytes:?}");
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err(), "cut at {end}");
            // … and where the length was made to fit.
            if end >= 4 {
                let cut = sized(bytes[..end].to_vec());
                let whole_entries = bytes[0] == Kind::Segment as u8
                    && end >= HEAD + PACKET_BYTES
                    && (end - HEAD - PACKET_BYTES).is_multiple_of(ENTRY);
                assert_eq!(decode(&cut).is_ok(), whole_entries, "cut at {end}");
            }
        }
    }
}

#[test]
fn headers_that_were_cut_behind_their_end_are_zeros() {
    let cut = |bytes: u32, left: usize| {
        let mut record = segment_bytes();
        record[52..56].copy_from_slice(&bytes.to_ne_bytes());
        record.drain(HEAD + left..HEAD + PACKET_BYTES);
        sized(record)
    };
    let record = cut(32, 32);
    let Ok(Record::Segment(segment)) = decode(&record) else {
        panic!("not a segment");
    };
    let headers = segment.headers().unwrap();
    assert_eq!(headers[..32], [0x45; 32]);
    assert_eq!(headers[32..], [0; 32]);
    assert_eq!(segment.entries().len(), 2);
    // not a whole number of entries behind them; more than there is
    assert!(decode(&cut(31, 32)).is_err());
    assert!(decode(&cut(PACKET_BYTES as u32 + 8, 0)).is_err());
}

#[test]
fn what_this_version_does_not_know_is_refused() {
    let with = |at: usize, value: u8| {
        let mut bytes = segment_bytes();
        bytes[at] = value;
        decode(&bytes).map(drop)
    };
    let first_tag = HEAD + PACKET_BYTES + 4;
    assert_eq!(with(0, 7), Err(DecodeError::UnknownKind(7)));
    assert_eq!(with(first_tag, 0), Err(DecodeError::UnknownTag(0)));
    let beyond = Hook::LAST + 1;
    assert_eq!(
        with(first_tag, beyond),
        Err(DecodeError::UnknownTag(beyond))
    );
    let beyond = Tag::Receiver as u8 + 1;
    assert_eq!(
        with(first_tag, beyond),
        Err(DecodeError::UnknownTag(beyond))
    );
    assert_eq!(with(5, 2), Err(DecodeError::Cpu(0x203)));
    let mut socket = other_bytes().swap_remove(2);
    let beyond = SocketOp::DatagramBefore as u8 + 1;
    socket[1] = beyond;
    assert_eq!(decode(&socket), Err(DecodeError::UnknownTag(beyond)));
    let mut deep = drop_bytes();
    deep[1] = u8::try_from(MAX_STACK).unwrap() + 1;
    assert!(decode(&deep).is_err());
}

#[test]
fn every_hook_number_up_to_the_last_is_known() {
    for number in 1..=Hook::LAST {
        assert_eq!(hook(number).map(|h| h as u8), Some(number));
    }
    assert_eq!(hook(Hook::LAST + 1), None);
}

#[test]
fn more_entries_than_a_slot_holds_are_refused() {
    let mut bytes = segment_bytes();
    bytes.truncate(HEAD + PACKET_BYTES);
    for _ in 0..=MAX_ENTRIES {
        bytes.extend([0, 0, 0, 0, Hook::Ip as u8, 0, 0, 0]);
    }
    assert_eq!(
        decode(&sized(bytes.clone())),
        Err(DecodeError::Shape(bytes.len()))
    );
    bytes.truncate(bytes.len() - ENTRY);
    assert!(decode(&sized(bytes)).is_ok());
}

#[test]
fn no_input_does_harm() {
    let mut random = Random(0x5eed);
    let samples = other_bytes();
    for round in 0..200_000u64 {
        let mut bytes = if round % 3 == 0 {
            let len = usize::try_from(random.below(400)).unwrap();
            (0..len).map(|_| random.next() as u8).collect()
        } else {
            let mut bytes = samples[usize::try_from(random.below(6)).unwrap()].clone();
            for _ in 0..random.below(8) {
                let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
                bytes[at] = random.next() as u8;
            }
            bytes
        };
        if round % 2 == 0 && bytes.len() >= 4 {
            bytes[0] = bytes[0] % 6 + 1;
            bytes = sized(bytes);
        }
        if let Ok(Record::Segment(segment)) = decode(&bytes) {
            assert!(segment.items().count() <= MAX_ENTRIES);
        }
    }
}
