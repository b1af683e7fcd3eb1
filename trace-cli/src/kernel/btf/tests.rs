use std::time::Instant;

use super::{testing::Builder, *};

/// A small kernel: nested and unnamed aggregates, bitfields, arrays, a tracepoint.
fn small() -> Builder {
    let mut b = Builder::new();
    let u8_ = b.int("u8", 1);
    let u32_ = b.int("u32", 4);
    let u32_ = b.typedef("__u32", u32_);
    let device = b.strukt(
        "net_device",
        8,
        &[("flags", u32_, 0, 0), ("ifindex", u32_, 32, 0)],
    );
    let device_ptr = b.ptr(device);
    let inner = b.aggregate(
        true,
        "",
        8,
        &[("dev", device_ptr, 0, 0), ("scratch", u32_, 0, 0)],
    );
    let bits = b.strukt(
        "",
        4,
        &[
            ("pkt_type", u8_, 0, 3),
            ("wide", u32_, 4, 11),
            ("cloned", u8_, 17, 1),
        ],
    );
    let name = b.array(u8_, 16);
    let grid = b.array(device, 3);
    let skb = b.strukt(
        "sk_buff",
        64,
        &[
            ("head", device_ptr, 0, 0),
            ("", inner, 64, 0),
            ("", bits, 128, 0),
            ("name", name, 192, 0),
            ("grid", grid, 320, 0),
        ],
    );
    let skb_ptr = b.ptr(skb);
    let data = b.ptr(0);
    let reason = b.enumeration(
        "skb_drop_reason",
        false,
        &[("A", 0), ("B", 1), ("MASK", -65536)],
    );
    b.enumeration("signed", true, &[("MINUS", -1)]);
    let low_high = [b.string("BIG"), 1, 2];
    b.raw("wide_enum", 19, false, 1, 8, &low_high);
    let bare = b.proto(&[("", data), ("", skb_ptr), ("", reason)]);
    let bare_ptr = b.ptr(bare);
    b.typedef("btf_trace_kfree_skb", bare_ptr);
    let named = b.proto(&[("__data", data), ("skb", skb_ptr), ("reason", reason)]);
    b.func("__traceiter_kfree_skb", named);
    b
}

fn plain(byte_offset: u32, size: u32) -> Option<Member> {
    Some(Member {
        byte_offset,
        bit_offset: 0,
        bitfield_width: None,
        size,
    })
}

#[test]
fn members_in_nested_and_unnamed_aggregates() {
    let btf = Btf::parse(small().bytes()).unwrap();
    assert_eq!(btf.member("sk_buff", "head"), plain(0, 8));
    assert_eq!(btf.member("sk_buff", "dev"), plain(8, 8));
    assert_eq!(btf.member("sk_buff", "scratch"), plain(8, 4));
    assert_eq!(btf.member("sk_buff", "name"), plain(24, 16));
    assert_eq!(btf.member("sk_buff", "name[5]"), plain(29, 1));
    assert_eq!(
        btf.member("sk_buff", "grid[2].ifindex"),
        plain(40 + 16 + 4, 4)
    );
    assert_eq!(btf.size_of("sk_buff"), Some(64));
}

#[test]
fn paths_that_lead_nowhere() {
    let btf = Btf::parse(small().bytes()).unwrap();
    for path in [
        "",
        ".",
        "none",
        "dev.ifindex",
        "head.",
        "name[16]",
        "name[",
        "name[x]",
        "name[1][1]",
        "[1]",
        "grid.ifindex",
    ] {
        assert_eq!(btf.member("sk_buff", path), None, "{path}");
    }
    assert_eq!(btf.member("no_such_struct", "head"), None);
    assert_eq!(
        btf.members(&[("sk_buff", "head"), ("x", "y")]),
        [plain(0, 8), None]
    );
}

#[test]
fn bitfields_get_the_smallest_aligned_word() {
    let btf = Btf::parse(small().bytes()).unwrap();
    let field = |byte_offset, bit_offset, width, size| {
        Some(Member {
            byte_offset,
            bit_offset,
            bitfield_width: Some(width),
            size,
        })
    };
    assert_eq!(btf.member("sk_buff", "pkt_type"), field(16, 0, 3, 1));
    assert_eq!(btf.member("sk_buff", "wide"), field(16, 4, 11, 2));
    assert_eq!(btf.member("sk_buff", "cloned"), field(18, 1, 1, 1));
}

#[test]
fn enums_of_all_widths() {
    let btf = Btf::parse(small().bytes()).unwrap();
    let values = btf.enum_values("skb_drop_reason").unwrap();
    assert_eq!(
        values,
        [
            ("A".into(), 0),
            ("B".into(), 1),
            ("MASK".into(), 0xffff_0000)
        ]
    );
    assert_eq!(btf.enum_values("signed").unwrap(), [("MINUS".into(), -1)]);
    assert_eq!(
        btf.enum_values("wide_enum").unwrap(),
        [("BIG".into(), 0x2_0000_0001)]
    );
    assert_eq!(btf.enum_values("sk_buff"), None);
}

#[test]
fn tracepoint_params_take_their_names_from_the_caller() {
    let btf = Btf::parse(small().bytes()).unwrap();
    assert!(btf.has_tracepoint("kfree_skb") && !btf.has_tracepoint("none"));
    let params = btf.tracepoint_params("kfree_skb").unwrap();
    assert_eq!(params.len(), 2);
    assert_eq!(
        (params[0].name.as_str(), params[0].pointee.as_deref()),
        ("skb", Some("sk_buff"))
    );
    assert_eq!(
        (params[1].name.as_str(), params[1].enumeration.as_deref()),
        ("reason", Some("skb_drop_reason"))
    );
}

#[test]
fn a_module_adds_to_the_kernel() {
    let kernel = small();
    let base = Btf::parse(kernel.bytes()).unwrap();
    let mut module = Builder::split(&kernel);
    module.enumeration("ovs_drop_reason", false, &[("OVS_DROP_X", 0x30001)]);
    // Type 5 and its string belong to vmlinux.
    module.strukt("ovs", 8, &[("dev", 5, 0, 0)]);
    let btf = base.parse_module(module.bytes()).unwrap();
    assert_eq!(
        btf.enum_values("ovs_drop_reason").unwrap(),
        [("OVS_DROP_X".into(), 0x30001)]
    );
    assert_eq!(btf.member("ovs", "dev"), plain(0, 8));
    assert_eq!(btf.member("sk_buff", "head"), plain(0, 8));
    assert_eq!(
        btf.enum_names(|name| name.ends_with("drop_reason")),
        ["ovs_drop_reason"]
    );
    assert_eq!(base.enum_values("ovs_drop_reason"), None);
}

#[test]
fn unknown_kinds_are_stepped_over_when_their_layout_is_told() {
    let mut b = small();
    b.raw("later", 21, false, 2, 0, &[7, 7, 7]);
    let last = b.strukt("after", 4, &[]);
    assert!(
        matches!(Btf::parse(b.bytes()), Err(BtfError::UnknownKind { id, kind: 21 }) if id == last - 1)
    );
    b.layout(21, 4, 4);
    assert_eq!(Btf::parse(b.bytes()).unwrap().size_of("after"), Some(4));
}

#[test]
fn not_btf_at_all() {
    for bytes in [&b""[..], b"\x9f", b"\x7fELF and more", b"{}"] {
        assert!(matches!(Btf::parse(bytes.to_vec()), Err(BtfError::NotBtf)));
    }
    assert!(matches!(
        Btf::parse(vec![0xeb, 0x9f, 0, 1]),
        Err(BtfError::ByteOrder)
    ));
    assert!(matches!(
        Btf::from_file(Path::new("/nonexistent")),
        Err(BtfError::Read { .. })
    ));
}

/// Asks everything; only has to come back.
fn exercise(btf: &Btf) {
    for path in [
        "head",
        "dev",
        "wide",
        "grid[2].ifindex",
        "name[3]",
        "missing",
    ] {
        let _ = btf.member("sk_buff", path);
    }
    for name in ["skb_drop_reason", "signed", "wide_enum"] {
        let _ = btf.enum_values(name);
    }
    let _ = btf.tracepoint_params("kfree_skb");
    let _ = btf.func_params("__traceiter_kfree_skb");
    let _ = btf.enum_names(|_| true);
}

#[test]
fn cut_short_anywhere() {
    let bytes = small().bytes();
    for len in 0..bytes.len() {
        if let Ok(btf) = Btf::parse(bytes[..len].to_vec()) {
            exercise(&btf);
        }
    }
}

#[test]
fn any_byte_wrong() {
    let bytes = small().bytes();
    for at in 0..bytes.len() {
        for value in [0, 1, 4, 5, 8, 0x7f, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            if let Ok(btf) = Btf::parse(bytes) {
                exercise(&btf);
            }
        }
    }
}

#[test]
fn types_that_contain_themselves() {
    let mut b = Builder::new();
    // 1: a typedef of itself; 2: a struct with ten unnamed members of its own type; 3: an array of itself.
    b.typedef("loop", 1);
    b.strukt("matryoshka", 8, &[("", 2, 0, 0); 10]);
    b.array(3, u32::MAX);
    b.strukt("holder", 8, &[("a", 3, 0, 0), ("l", 1, 0, 0)]);
    let btf = Btf::parse(b.bytes()).unwrap();
    assert_eq!(btf.member("loop", "x"), None);
    assert_eq!(btf.member("matryoshka", "x"), None);
    assert_eq!(btf.member("holder", "a"), None);
    assert_eq!(btf.member("holder", "a[1][1]"), None);
    assert_eq!(btf.member("holder", "l.x"), None);
}

/// The running kernel's, or `None` with a word of why the test does nothing.
fn kernel() -> Option<Btf> {
    Path::new(VMLINUX)
        .exists()
        .then(|| Btf::from_kernel().unwrap())
}

#[test]
fn running_kernel() {
    let Some(btf) = kernel() else { return };
    let skb = btf.size_of("sk_buff").unwrap();
    let head = btf.member("sk_buff", "head").unwrap();
    assert!(head.size == 8 && head.byte_offset + 8 <= skb);
    assert_eq!(btf.member("sk_buff", "cb").unwrap().size, 48);
    assert_eq!(
        btf.member("sk_buff", "pkt_type").unwrap().bitfield_width,
        Some(3)
    );
    assert_eq!(btf.member("sk_buff", "network_header").unwrap().size, 2);
    assert_eq!(btf.member("net_device", "name").unwrap().size, 16);
    assert_eq!(btf.member("net", "ns.inum").unwrap().size, 4);
    assert_eq!(
        btf.member("sock", "__sk_common.skc_family"),
        btf.member("sock_common", "skc_family")
    );
    assert_eq!(btf.member("net_device", "nd_net.net").unwrap().size, 8);
    assert!(btf.has_func("ip_rcv") && !btf.has_func("no_such_function"));
    assert_eq!(
        btf.func_params("ip_rcv").unwrap()[0].pointee.as_deref(),
        Some("sk_buff")
    );
    let params = btf.tracepoint_params("kfree_skb").unwrap();
    assert_eq!(
        (params[0].name.as_str(), params[0].pointee.as_deref()),
        ("skb", Some("sk_buff"))
    );
    assert!(!btf.has_tracepoint("no_such_tracepoint"));
}

/// `cargo test --release -p trace-cli kernel::btf::tests::timing -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stderr, reason = "its result is for people")]
fn timing() {
    for _ in 0..5 {
        let start = Instant::now();
        let data = read(Path::new(VMLINUX)).unwrap();
        let read = start.elapsed();
        let btf = Btf::parse(data).unwrap();
        let parsed = start.elapsed();
        for _ in 0..100 {
            assert!(btf.member("sk_buff", "pkt_type").is_some());
        }
        let members = start.elapsed();
        let _ = btf.enum_names(|name| name.ends_with("drop_reason"));
        let names = start.elapsed();
        eprintln!(
            "read {read:?}, parsed {parsed:?}, 100 members {members:?}, enum names {names:?}"
        );
    }
}
