//! A keyword and what belongs to it: `[proto] [dir] [type] value`, in pcap's words.

use super::ast::{End, Layer, Primitive};
use super::error::FilterError;
use super::lex::{Kind, Token};
use super::parse::{Parsed, Parser, Qualifiers};
use super::value::{self, Name};
use super::words::{self, ProtocolWord};

impl Parser<'_> {
    /// A primitive by its keyword; `None` if `word` is none.
    pub(super) fn primitive(
        &mut self,
        word: &str,
        token: &Token<'_>,
    ) -> Result<Option<Parsed>, FilterError> {
        if let Some(protocol) = words::protocol_word(word) {
            return self.protocol(protocol, token).map(Some);
        }
        if words::is_unsupported(word) {
            let error = FilterError::unsupported(token.span.clone(), format_args!("`{word}`"));
            return Err(match word {
                "len" | "length" => error.help("use `less N` or `greater N`"),
                "ifname" | "on" => error.help("for an interface use `iface NAME`"),
                _ => error,
            });
        }
        let qualifiers = match word {
            "src" | "dst" | "host" | "net" | "port" | "portrange" | "proto" => {
                return self.qualified(None).map(Some);
            }
            "less" | "greater" | "inbound" | "outbound" => return self.alone(word).map(Some),
            "direction" => Qualifiers::Direction,
            "netns" => Qualifiers::Name(Name::Netns),
            "process" => Qualifiers::Name(Name::Process),
            "iface" => Qualifiers::Name(Name::Interface),
            "pid" => Qualifiers::Pid,
            _ => return Ok(None),
        };
        self.next();
        self.values(Some(qualifiers)).map(Some)
    }

    /// The primitives that hand on no qualifiers.
    fn alone(&mut self, word: &str) -> Result<Parsed, FilterError> {
        self.next();
        let primitive = match word {
            "inbound" => Primitive::Inbound,
            "outbound" => Primitive::Outbound,
            "less" => Primitive::Less(value::number(self, "a length in bytes after `less`")?),
            _ => Primitive::Greater(value::number(self, "a length in bytes after `greater`")?),
        };
        Ok(Parsed::primitive(primitive, None))
    }

    /// A protocol's word, alone or with more words that it qualifies.
    fn protocol(
        &mut self,
        protocol: ProtocolWord,
        token: &Token<'_>,
    ) -> Result<Parsed, FilterError> {
        self.next();
        let name = self.source(token.span.clone());
        if let Some(bracket) = self.next_if(&Kind::Operator("[")) {
            let close = self
                .tokens
                .iter()
                .find(|token| token.kind == Kind::Operator("]"))
                .unwrap_or(bracket);
            let span = token.span.start..close.span.end;
            return Err(FilterError::unsupported(
                span,
                format_args!("looking at bytes (`{name}[…]`)"),
            ));
        }
        match self.word(0) {
            Some("src" | "dst" | "host" | "net" | "port" | "portrange" | "proto") => {
                return self.qualified(Some((protocol, token)));
            }
            Some(word @ ("broadcast" | "multicast" | "gateway" | "protochain")) => {
                let end = self.peek().map_or(token.span.end, |last| last.span.end);
                return Err(FilterError::unsupported(
                    token.span.start..end,
                    format_args!("`{name} {word}`"),
                ));
            }
            _ => {}
        }
        let primitive = match protocol {
            ProtocolWord::Layer(layer) => Primitive::Layer(layer),
            ProtocolWord::Transport(transport) => Primitive::Protocol {
                layer: None,
                number: transport.number(),
            },
            ProtocolWord::Other(layer, number) => Primitive::Protocol { layer, number },
        };
        Ok(Parsed::primitive(primitive, None))
    }

    /// `[dir] [type] value`, after an optional protocol.
    fn qualified(
        &mut self,
        protocol: Option<(ProtocolWord, &Token<'_>)>,
    ) -> Result<Parsed, FilterError> {
        let end = self.end();
        let kind = self.peek();
        let layer = match protocol {
            Some((ProtocolWord::Layer(layer), _)) => Some(layer),
            _ => None,
        };
        let transport = match protocol {
            Some((ProtocolWord::Transport(transport), _)) => Some(transport),
            _ => None,
        };
        let word = self.word(0).unwrap_or_default();
        let qualifiers = match word {
            "port" | "portrange" => Qualifiers::Port {
                transport,
                end: end.unwrap_or(End::Either),
                range: word == "portrange",
            },
            "proto" if end.is_none() => Qualifiers::Protocol(layer),
            "gateway" | "broadcast" | "multicast" | "protochain" => {
                return Err(FilterError::unsupported(
                    kind.map_or(0..0, |token| token.span.clone()),
                    format_args!("`{word}`"),
                ));
            }
            _ => Qualifiers::Address {
                layer,
                end: end.unwrap_or(End::Either),
                net: word == "net",
            },
        };
        if let Some((protocol, token)) = protocol {
            let fits = match qualifiers {
                Qualifiers::Port { .. } => matches!(protocol, ProtocolWord::Transport(_)),
                Qualifiers::Protocol(_) => {
                    matches!(protocol, ProtocolWord::Layer(Layer::Ip | Layer::Ip6))
                }
                _ => matches!(protocol, ProtocolWord::Layer(_)),
            };
            if !fits {
                let name = self.source(token.span.clone());
                let rest = if matches!(word, "host" | "net" | "port" | "portrange" | "proto") {
                    word
                } else {
                    "host"
                };
                let message = format!("`{name}` cannot qualify `{rest}`");
                return Err(FilterError::invalid(token.span.clone(), message)
                    .help(format!("did you mean `{name} and {rest} …`?")));
            }
        }
        match word {
            "host" | "net" | "port" | "portrange" | "proto" => {
                self.next();
            }
            // After `src` alone, `host` is assumed.
            _ => {
                let value = matches!(
                    kind.map(|token| &token.kind),
                    Some(Kind::Word(_) | Kind::Address(_) | Kind::Open | Kind::Not)
                );
                if !value || words::KEYWORDS.contains(&word) {
                    return Err(
                        self.expected("`host`, `net`, `port`, `portrange` or an address", kind)
                    );
                }
            }
        }
        self.values(Some(qualifiers))
    }

    /// `src`, `dst`, `src or dst`, `src and dst`.
    fn end(&mut self) -> Option<End> {
        let (end, other) = match self.word(0)? {
            "src" => (End::Source, "dst"),
            "dst" => (End::Destination, "src"),
            _ => return None,
        };
        self.next();
        let both = match self.peek().map(|token| &token.kind) {
            Some(Kind::And) => End::Both,
            Some(Kind::Or) => End::Either,
            _ => return Some(end),
        };
        if self.word(1) != Some(other) {
            return Some(end);
        }
        self.next();
        self.next();
        Some(both)
    }
}
