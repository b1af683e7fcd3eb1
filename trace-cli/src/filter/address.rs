//! Addresses and networks, in every form that pcap takes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::ast::{End, Layer, Net, Primitive};
use super::error::FilterError;
use super::lex::{Kind, Token};
use super::parse::Parser;
use super::value::{number, take};
use super::words;

pub(super) fn address(
    parser: &mut Parser<'_>,
    layer: Option<Layer>,
    end: End,
    net: bool,
) -> Result<Primitive, FilterError> {
    let what = if net {
        "a network such as 192.0.2.0/24"
    } else {
        "an IPv4 or IPv6 address"
    };
    let (token, text) = take(parser, what)?;
    if matches!(token.kind, Kind::Word(word) if words::KEYWORDS.contains(&word)) {
        return Err(parser.expected(what, Some(token)));
    }
    let range = matches!(
        parser.peek().map(|next| &next.kind),
        Some(Kind::Slash | Kind::Word("mask"))
    );
    let primitive = match text.parse::<IpAddr>() {
        Ok(address) if !net && !range => Primitive::Host {
            layer,
            end,
            address,
        },
        parsed if net || range => Primitive::Net {
            layer,
            end,
            net: network(parser, token, text, parsed.ok())?,
        },
        _ => return Err(no_address(token, text)),
    };
    let v6 = matches!(
        primitive,
        Primitive::Host {
            address: IpAddr::V6(_),
            ..
        } | Primitive::Net {
            net: Net::V6 { .. },
            ..
        }
    );
    match layer {
        Some(layer) if v6 != (layer == Layer::Ip6) => {
            let version = if v6 { 6 } else { 4 };
            Err(FilterError::invalid(
                token.span.clone(),
                format!("`{layer}` has no IPv{version} addresses"),
            ))
        }
        _ => Ok(primitive),
    }
}

fn no_address(token: &Token<'_>, text: &str) -> FilterError {
    let span = token.span.clone();
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() == 6 && parts.iter().all(|part| matches!(part.len(), 1 | 2)) {
        return FilterError::unsupported(span, "an Ethernet address")
            .help("use the packet's IP addresses");
    }
    if matches!(token.kind, Kind::Address(_)) {
        return FilterError::invalid(span, format!("`{text}` is not an IPv6 address"));
    }
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        let error = FilterError::invalid(span, format!("`{text}` is not a whole IPv4 address"));
        return if partial(text).is_some() {
            error.help(format!("for the network use `net {text}`"))
        } else {
            error
        };
    }
    FilterError::invalid(
        span,
        format!("`{text}` is a host name; only addresses are looked up"),
    )
    .help("give the address itself, such as 192.0.2.1 or 2001:db8::1")
}

/// One to four numbers with dots, filled up with zeros, and how many bits were given.
fn partial(text: &str) -> Option<(Ipv4Addr, u32)> {
    let mut octets = [0; 4];
    let parts: Vec<&str> = text.split('.').collect();
    let given = octets.get_mut(..parts.len())?;
    for (octet, part) in given.iter_mut().zip(&parts) {
        *octet = part.parse().ok().filter(|_| !part.starts_with('+'))?;
    }
    Some((octets.into(), u32::try_from(parts.len()).ok()? * 8))
}

/// What follows a network's first word: `/len`, `mask M`, or nothing.
fn network(
    parser: &mut Parser<'_>,
    token: &Token<'_>,
    text: &str,
    parsed: Option<IpAddr>,
) -> Result<Net, FilterError> {
    let v4 = match parsed {
        Some(IpAddr::V6(address)) => return network_v6(parser, token, address),
        Some(IpAddr::V4(address)) => Some((address, 32)),
        None => partial(text),
    };
    let Some((address, mut bits)) = v4 else {
        return Err(match token.kind {
            Kind::Address(_) => no_address(token, text),
            _ if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') => FilterError::invalid(
                token.span.clone(),
                format!("`{text}` is not an IPv4 network"),
            ),
            _ => FilterError::invalid(
                token.span.clone(),
                format!("`{text}` is a network's name; only addresses are looked up"),
            )
            .help("give the network itself, such as 192.0.2.0/24 or 2001:db8::/32"),
        });
    };
    let mut last = token.span.end;
    if parser.next_if(&Kind::Slash).is_some() {
        (bits, last) = prefix(parser, 32)?;
    } else if parser.next_if(&Kind::Word("mask")).is_some() {
        let (mask_token, mask) = take(parser, "a mask such as 255.255.255.0")?;
        let whole = mask
            .parse()
            .ok()
            .or_else(|| partial(mask).map(|(mask, _)| mask));
        let mask: Ipv4Addr = whole
            .ok_or_else(|| parser.expected("a mask such as 255.255.255.0", Some(mask_token)))?;
        return network_v4(token.span.start..mask_token.span.end, address, mask);
    }
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    network_v4(token.span.start..last, address, Ipv4Addr::from_bits(mask))
}

fn network_v4(span: Range<usize>, address: Ipv4Addr, mask: Ipv4Addr) -> Result<Net, FilterError> {
    let net = Net::V4 {
        address: address & mask,
        mask,
    };
    if address & mask == address {
        Ok(net)
    } else {
        Err(stray_bits(span, &net))
    }
}

fn network_v6(
    parser: &mut Parser<'_>,
    token: &Token<'_>,
    address: Ipv6Addr,
) -> Result<Net, FilterError> {
    if let Some(mask) = parser.next_if(&Kind::Word("mask")) {
        return Err(
            FilterError::invalid(mask.span.clone(), "an IPv6 network takes no mask")
                .help(format!("use `{address}/LENGTH`")),
        );
    }
    let (bits, last) = match parser.next_if(&Kind::Slash) {
        Some(_) => prefix(parser, 128)?,
        None => (128, token.span.end),
    };
    let kept = address.to_bits() & u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    let net = Net::V6 {
        address: Ipv6Addr::from_bits(kept),
        prefix: u8::try_from(bits).unwrap_or(128),
    };
    if kept == address.to_bits() {
        Ok(net)
    } else {
        Err(stray_bits(token.span.start..last, &net))
    }
}

fn stray_bits(span: Range<usize>, net: &Net) -> FilterError {
    FilterError::invalid(span, "the address has bits outside the network's mask")
        .help(format!("did you mean `{net}`?"))
}

/// The length after a slash, and where it ends.
fn prefix(parser: &mut Parser<'_>, most: u32) -> Result<(u32, usize), FilterError> {
    let what = format!("a length from 0 to {most} after the `/`");
    let token = parser.peek();
    let bits = number(parser, &what)?;
    if bits > most {
        return Err(parser.expected(&what, token));
    }
    Ok((bits, token.map_or(0, |token| token.span.end)))
}
