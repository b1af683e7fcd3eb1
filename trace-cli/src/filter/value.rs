//! The values in an expression: ports, protocols, numbers and names.

use std::ops::Range;

use super::address;
use super::ast::{Direction, End, Layer, Primitive, Transport};
use super::error::FilterError;
use super::lex::{Kind, Token};
use super::parse::{Parser, Qualifiers};
use super::services::{self, NoService, Service};
use super::words;

/// What a name is the name of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Name {
    Netns,
    Process,
    Interface,
}

pub(super) fn value(
    parser: &mut Parser<'_>,
    qualifiers: Qualifiers,
) -> Result<Primitive, FilterError> {
    match qualifiers {
        Qualifiers::Address { layer, end, net } => address::address(parser, layer, end, net),
        Qualifiers::Port {
            transport,
            end,
            range,
        } => port(parser, transport, end, range),
        Qualifiers::Protocol(layer) => protocol(parser, layer),
        Qualifiers::Direction => direction(parser),
        Qualifiers::Name(name) => named(parser, name),
        Qualifiers::Pid => number(parser, "a process ID after `pid`").map(Primitive::Pid),
    }
}

/// The next token and its text, if it can be a value.
pub(super) fn take<'a>(
    parser: &mut Parser<'a>,
    what: &str,
) -> Result<(&'a Token<'a>, &'a str), FilterError> {
    let found = parser.peek();
    match found.map(|token| (token, &token.kind)) {
        Some((token, Kind::Word(text) | Kind::Escaped(text) | Kind::Address(text))) => {
            parser.next();
            Ok((token, text))
        }
        _ => Err(parser.expected(what, found)),
    }
}

pub(super) fn number(parser: &mut Parser<'_>, what: &str) -> Result<u32, FilterError> {
    let (token, text) = take(parser, what)?;
    parse_number(text, &token.span).unwrap_or_else(|| Err(parser.expected(what, Some(token))))
}

/// A number as in C: decimal, `0x` hexadecimal, `0` octal. `None` if it is no number at all.
fn parse_number(text: &str, span: &Range<usize>) -> Option<Result<u32, FilterError>> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix.max(10))) {
        return None;
    }
    if radix == 8 && !digits.chars().all(|c| c.is_digit(8)) {
        return Some(Err(FilterError::invalid(
            span.clone(),
            format!("`{text}` starts with 0 and so is octal, but has a digit above 7"),
        )));
    }
    let too_large =
        |_| FilterError::invalid(span.clone(), format!("`{text}` is more than {}", u32::MAX));
    Some(u32::from_str_radix(digits, radix).map_err(too_large))
}

fn port(
    parser: &mut Parser<'_>,
    wanted: Option<Transport>,
    end: End,
    range: bool,
) -> Result<Primitive, FilterError> {
    let what = if range {
        "a range of ports such as 6000-6008"
    } else {
        "a port's number or service name"
    };
    let (token, text) = take(parser, what)?;
    // A service's name may hold a `-` itself.
    let split = text
        .match_indices('-')
        .map(|(at, _)| (&text[..at], &text[at + 1..]))
        .find_map(|(first, last)| {
            Some((
                service(first, wanted, token)?.ok()?,
                service(last, wanted, token)?.ok()?,
            ))
            .filter(|_| range)
        });
    let (first, last) = match split {
        Some(pair) => pair,
        None => {
            let one = service(text, wanted, token).unwrap_or_else(|| {
                if range
                    || text.contains('-') && text.bytes().all(|b| b.is_ascii_digit() || b == b'-')
                {
                    let help = if range {
                        "write the first and the last port, joined by `-`"
                    } else {
                        "a range is `portrange 6000-6008`"
                    };
                    return Err(parser.expected(what, Some(token)).help(help));
                }
                Err(parser
                    .expected(what, Some(token))
                    .near(words::nearest(text, services::names())))
            })?;
            (one, one)
        }
    };
    let transport = wanted.or(first
        .transport
        .filter(|_| first.transport == last.transport));
    let (low, high) = (first.port.min(last.port), first.port.max(last.port));
    Ok(Primitive::Port {
        transport,
        end,
        first: low,
        last: high,
    })
}

/// `None` if it is neither a number nor a known name.
fn service(
    text: &str,
    wanted: Option<Transport>,
    token: &Token<'_>,
) -> Option<Result<Service, FilterError>> {
    let span = token.span.clone();
    if let Some(number) = parse_number(text, &span) {
        return Some(number.and_then(|number| {
            let too_large = |_| {
                FilterError::invalid(
                    span,
                    format!("`{text}` is more than 65535, the highest port"),
                )
            };
            Ok(Service {
                port: u16::try_from(number).map_err(too_large)?,
                transport: None,
            })
        }));
    }
    match services::lookup(text, wanted) {
        Ok(service) => Some(Ok(service)),
        Err(NoService::Unknown) => None,
        Err(NoService::Only(transport)) => Some(Err(FilterError::invalid(
            span,
            format!("`{text}` is a service of {transport} only"),
        ))),
    }
}

fn protocol(parser: &mut Parser<'_>, layer: Option<Layer>) -> Result<Primitive, FilterError> {
    let what = "an IP protocol's number or name after `proto`";
    let (token, text) = take(parser, what)?;
    let number = match parse_number(text, &token.span) {
        Some(number) => u8::try_from(number?).map_err(|_| {
            FilterError::invalid(
                token.span.clone(),
                format!("`{text}` is more than 255, the highest protocol"),
            )
        })?,
        None => words::protocol_number(text).ok_or_else(|| {
            let near = words::nearest(text, words::PROTOCOLS.iter().map(|&(name, _)| name));
            parser.expected(what, Some(token)).near(near)
        })?,
    };
    Ok(Primitive::Protocol { layer, number })
}

fn direction(parser: &mut Parser<'_>) -> Result<Primitive, FilterError> {
    const ALL: [(&str, Direction); 4] = [
        ("receive", Direction::Receive),
        ("transmit", Direction::Transmit),
        ("forward", Direction::Forward),
        ("loop", Direction::Loop),
    ];
    let what = "`receive`, `transmit`, `forward` or `loop`";
    let (token, text) = take(parser, what)?;
    if matches!(text, "nods" | "tods" | "fromds" | "dstods") {
        return Err(FilterError::unsupported(
            token.span.clone(),
            format_args!("802.11's `direction {text}`"),
        ));
    }
    match ALL.iter().find(|(name, _)| *name == text) {
        Some(&(_, direction)) => Ok(Primitive::Direction(direction)),
        None => Err(parser
            .expected(what, Some(token))
            .near(words::nearest(text, ALL.map(|(name, _)| name)))),
    }
}

fn named(parser: &mut Parser<'_>, name: Name) -> Result<Primitive, FilterError> {
    let what = match name {
        Name::Netns => "a network namespace's name or inode after `netns`",
        Name::Process => "a process's name after `process`",
        Name::Interface => "an interface's name after `iface`",
    };
    if let Some(Token {
        kind: Kind::Quoted(quoted),
        ..
    }) = parser.peek()
    {
        parser.next();
        return Ok(with_name(name, quoted.clone()));
    }
    let (token, text) = take(parser, what)?;
    let cut = parser
        .peek()
        .is_some_and(|next| next.span.start == token.span.end && !matches!(next.kind, Kind::Close));
    if cut {
        let sign = parser.peek().map_or(0..0, |next| next.span.clone());
        let message = format!(
            "`{}` cannot stand in a name without quotes",
            parser.source(sign.clone())
        );
        return Err(FilterError::invalid(sign, message).help("put the name in double quotes"));
    }
    match (name, &token.kind) {
        (Name::Netns, Kind::Word(_)) => match parse_number(text, &token.span) {
            Some(inode) => inode.map(Primitive::NetnsInode),
            None => Ok(with_name(name, text.to_owned())),
        },
        _ => Ok(with_name(name, text.to_owned())),
    }
}

fn with_name(name: Name, text: String) -> Primitive {
    match name {
        Name::Netns => Primitive::NetnsName(text),
        Name::Process => Primitive::Process(text),
        Name::Interface => Primitive::Interface(text),
    }
}
